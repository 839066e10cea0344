"""The command line as a person or a script runs it."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORDER_SERVICE = str(Path(sys.executable).with_name("order-service"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int | None
    output: str
    errors: str

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """Its output, one document on each line."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def json(self) -> dict[str, Any]:
        """Its output, one document."""
        (document,) = self.json_lines
        return document


async def started(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """`order-service ARGUMENTS`, under way and with nobody at the terminal."""
    return await asyncio.create_subprocess_exec(
        ORDER_SERVICE,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """What became of it. No command ever ends with a traceback."""
    output, errors = await process.communicate()
    assert b"Traceback" not in errors, errors.decode()
    return Ended(process.returncode, output.decode(), errors.decode())


async def run(environment: Mapping[str, str], *arguments: str) -> Ended:
    """`order-service ARGUMENTS`, to its end."""
    return await ended(await started(environment, *arguments))


async def succeed(environment: Mapping[str, str], *arguments: str) -> Ended:
    """The same for what has to succeed."""
    done = await run(environment, *arguments)
    assert (done.code, done.errors) == (0, "")
    return done
