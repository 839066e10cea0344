"""Forked processes of the service are what started ones are."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.forks import forking
from tests.integration.platform import basic_environment, launch_afresh

NOWHERE = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "METRICS_PORT": "0", "GRPC_PORT": "0"}


def test_a_forked_command_prints_and_ends_as_a_started_one_does(tmp_path: Path) -> None:
    for arguments, code in ((["variables"], 0), (["api"], 2), (["nonsense"], 2)):
        with forking() as forks:
            forked = forks.launch(arguments, basic_environment(), tmp_path / "forked.log")
            forked_code = forked.wait(20)
        started = launch_afresh(arguments, basic_environment(), tmp_path / "started.log")

        assert (forked_code, started.wait(20)) == (code, code)
        assert (tmp_path / "forked.log").read_text() == (tmp_path / "started.log").read_text() != ""


def test_a_forked_process_has_its_own_environment_and_dies_of_signals(tmp_path: Path) -> None:
    with forking() as forks:
        first = forks.launch(["api"], basic_environment() | NOWHERE, tmp_path / "first.log")
        second = forks.launch(["api"], basic_environment(), tmp_path / "second.log")

        assert second.wait(20) == 2
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0.1)
        first.kill()
        assert first.wait(20) == first.poll() == -signal.SIGKILL


def test_nothing_outlives_who_asked_for_it(tmp_path: Path) -> None:
    with forking() as forks:
        left = forks.launch(["api"], basic_environment() | NOWHERE, tmp_path / "left.log")
        assert left.poll() is None

    assert left.wait(20) == -signal.SIGKILL
    assert not Path(f"/proc/{left.pid}").exists()
