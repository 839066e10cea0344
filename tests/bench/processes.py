"""The processes of a measurement: started here, and what each of them and of the servers costs in CPU time."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from order_service.private_servers.child_process import ChildProcess, Program, running
from tests.integration.management import Management
from tests.waiting import eventually

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_FAREWELL: Final = ((signal.SIGTERM, 5.0),)


class ProcessFailed(Exception):
    """A process of the measurement has failed; the text has the last lines that it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended well: what it said, and the CPU time it took from its start on."""

    said: str
    cpu_seconds: float

    def result(self) -> dict[str, Any]:
        """The JSON of its last line."""
        found: dict[str, Any] = json.loads(self.said.splitlines()[-1])
        return found


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, of its children, and of those children that it has seen end. 0 if it is gone."""
    total = _stat(pid)
    own = sum(total[:4]) if total else 0
    return (own + sum(sum(_stat(child)[:2]) for child in _children(pid))) / _TICKS


def postgresql_pid(database_url: str) -> int:
    """The postmaster's id, whose children are the backends; 0 if the server is not on this machine."""
    with psycopg.connect(database_url) as connection:
        pid = connection.info.backend_pid
        return _parent(pid) if "postgres" in _name(pid) else 0


async def rabbitmq_pid(management: Management) -> int:
    """The node's id; 0 if it is not on this machine. A node that has just begun tells it after some seconds."""

    def told() -> Any:
        return management.call("GET", "nodes")[0].get("os_pid")

    pid = int(await eventually(told))
    return pid if "beam" in _name(pid) else 0


@contextmanager
def started(name: str, command: Sequence[str], log: Path, **environ: str) -> Iterator[ChildProcess]:
    """A program runs within the block; what it says goes to `log`. It cannot outlive this process."""
    known = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "LC_ALL")}
    program = Program(
        name, tuple(command), known | environ, log, signal.SIGKILL, _FAREWELL, folder=Path(__file__).parents[2]
    )
    with running(program) as child:
        yield child


async def run_to_end(name: str, command: Sequence[str], log: Path, seconds: float, **environ: str) -> Ended:
    """What came of a program that must end by itself within `seconds`. Raises ProcessFailed."""
    begins = _size(log)
    with started(name, command, log, **environ) as child:
        if not await _has_ended(child, seconds):
            raise ProcessFailed(f"{name} did not end within {seconds:.0f} s")
        # Ended but not collected: its CPU time can still be read.
        spent = sum(_stat(child.process.pid)[:4]) / _TICKS
        code = child.process.wait()
    said = _text(log, begins)
    if code != 0:
        raise ProcessFailed(f"{name} ended with {code}: {' | '.join(said.strip().splitlines()[-4:])}")
    return Ended(said, spent)


@asynccontextmanager
async def serving(name: str, module: str, log: Path) -> AsyncIterator[tuple[ChildProcess, int]]:
    """`python -m MODULE`, which says `{"port": ...}` in its first line once it serves; with that port."""

    def port() -> int:
        if child.has_ended():
            raise ProcessFailed(str(child.failure("ended")))
        whole = log.read_text().rpartition("\n")[0]
        return int(json.loads(whole.splitlines()[0])["port"]) if whole else 0

    with started(name, [sys.executable, "-m", module], log) as child:
        yield child, await eventually(port, 30)


def watch_arguments(watched: Mapping[str, int]) -> list[str]:
    """Tells the load generator whose CPU time to take: names and process ids. Those without an id are left out."""
    return [argument for name, pid in watched.items() if pid for argument in ("--watch", f"{name}={pid}")]


async def _has_ended(child: ChildProcess, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(child.pidfd, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(child.pidfd)
    return True


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _text(log: Path, begins: int) -> str:
    return log.read_bytes()[begins:].decode(errors="replace")


def _name(pid: int) -> str:
    """What the kernel calls it; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _stat(pid: int) -> list[int]:
    """User and system time, and both of the children that were waited for, in ticks; nothing if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [int(field) for field in fields[11:15]]


def _children(pid: int) -> list[int]:
    """The children of all its threads."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
