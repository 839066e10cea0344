"""Lines of one turn of the event loop go out together; nothing that was told stays inside, and none that cannot be
written does harm."""

import asyncio
import errno
import io
import os
from select import PIPE_BUF

import pytest

from order_service.telemetry.output import Output


class File(io.BytesIO):
    """Notes each time something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.writes.append(content)
        return super().write(content)


def test_a_line_is_written_at_once_where_no_event_loop_runs() -> None:
    file = File()
    output = Output(file)

    output.info(b"one")
    output.warning(b"two")

    assert file.writes == [b"one\n", b"two\n"]


async def test_lines_of_one_turn_of_the_event_loop_are_written_together() -> None:
    file = File()
    output = Output(file)

    output.info(b"one")
    output.warning(b"two")
    written_at_once = list(file.writes)
    await asyncio.sleep(0)
    output.info(b"three")
    await asyncio.sleep(0)

    assert written_at_once == []
    assert file.writes == [b"one\ntwo\n", b"three\n"]


async def test_no_more_is_written_at_once_than_a_pipe_takes_as_a_whole() -> None:
    file = File()
    output = Output(file)
    lines = [bytes([ord("a") + number % 26]) * (number * 7) for number in range(150)]
    lines[70] = b"x" * (3 * PIPE_BUF)

    for line in lines:
        output.info(line)
    await asyncio.sleep(0)

    assert b"".join(file.writes) == b"".join(line + b"\n" for line in lines)
    assert all(write.endswith(b"\n") for write in file.writes)
    assert [len(write) for write in file.writes if len(write) > PIPE_BUF] == [len(lines[70]) + 1]
    assert len(file.writes) < len(lines) / 5


async def test_an_error_is_written_at_once_after_all_that_was_told_before_it() -> None:
    file = File()
    output = Output(file)

    output.info(b"one")
    output.error(b"two")
    written_at_once = list(file.writes)
    output.critical(b"three")

    assert written_at_once == [b"one\ntwo\n"]
    assert file.writes == [b"one\ntwo\n", b"three\n"]


async def test_a_line_of_another_thread_is_written_at_once_with_those_that_wait() -> None:
    file = File()
    output = Output(file)

    output.info(b"one")
    await asyncio.to_thread(output.info, b"two")

    assert b"".join(file.writes) == b"one\ntwo\n"


def test_a_loop_that_has_ended_keeps_nothing_back() -> None:
    file = File()
    output = Output(file)

    async def tell(line: bytes) -> None:
        output.info(line)
        asyncio.get_running_loop().stop()

    for line in (b"one", b"two"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(tell(line))
        loop.run_forever()
        assert task.done()
        loop.close()
    output.flush()

    assert b"".join(file.writes) == b"one\ntwo\n"


async def test_a_file_that_cannot_be_written_to_does_not_make_lines_pile_up() -> None:
    file = File()
    output = Output(file)
    file.close()

    output.info(b"lost")
    try:
        output.flush()
    except ValueError:
        file = File()
    output._file = file
    output.error(b"next")

    assert file.writes == [b"next\n"]


def test_a_reader_who_is_gone_is_told_of_once_and_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        output = Output(file)
        output.info(b"read")
        os.close(reading)

        for _ in range(3):
            output.info(b"lost")
            output.error(b"lost")

    said = capfd.readouterr().err
    assert said == "order-service: log lines are lost: [Errno 32] Broken pipe\n"


def test_nobody_to_tell_that_a_reader_is_gone_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("sys.stderr", None)
    with os.fdopen(writing, "wb") as file:
        Output(file).error(b"lost")


def test_a_disk_that_is_full_for_a_while_costs_the_lines_of_that_time(capfd: pytest.CaptureFixture[str]) -> None:
    class Disk(File):
        full = False

        def write(self, content: bytes) -> int:  # type: ignore[override]
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    disk = Disk()
    output = Output(disk)

    for place, disk.full in enumerate((False, True, True, False, True)):
        output.info(b"%d" % place)

    assert disk.writes == [b"0\n", b"3\n"]
    assert (
        capfd.readouterr().err.splitlines()
        == ["order-service: log lines are lost: [Errno 28] No space left on device"] * 2
    )
