"""Every command of the README works as it stands there."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from tests.integration.peers import StockService, success
from tests.integration.platform import Platform

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]
RUN_BY_CI = [line for line in COMMANDS if line.startswith("make ")]


def test_continuous_integration_runs_the_make_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()

    assert RUN_BY_CI == ["make demo", "make test"]
    assert set(RUN_BY_CI) <= set(script)


async def test_the_commands_to_try_by_hand_succeed(platform: Platform) -> None:
    api = await platform.start_api()
    await platform.start_worker()
    environment = platform.environment(GRPC_PORT=str(api.ports["grpc"]))
    commands = [line for line in COMMANDS if line not in RUN_BY_CI]

    async with StockService.running(platform, success):
        results = [(line, *await _run(line, environment)) for line in commands]

    assert len(results) > 3
    assert [(line, output) for line, code, output in results if code != 0] == []


async def _run(line: str, environment: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *shlex.split(line),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in RUN_BY_CI])
def test_a_command_to_try_by_hand_is_that_of_this_project(line: str) -> None:
    assert line.startswith(".venv/bin/")
