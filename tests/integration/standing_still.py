"""Stops a process at an instant at which nobody else has to wait for it."""

import signal
from collections.abc import Iterator
from pathlib import Path

from tests.integration.platform import Platform, Running
from tests.waiting import eventually

_IN_THE_MIDST = """
    select pid, xact_start from pg_stat_activity where client_port = any(%s) and xact_start is not null
"""


async def stand_still(platform: Platform, running: Running) -> None:
    """SIGSTOP between two transactions: within one it would keep its locks until SIGCONT, since the system goes on
    answering PostgreSQL in its name."""

    async def stands_between_transactions() -> bool:
        running.process.send_signal(signal.SIGSTOP)
        ports = list(_local_ports(running.process.pid))
        begun = set(await platform.query(_IN_THE_MIDST, ports))
        if not begun:
            return True
        running.process.send_signal(signal.SIGCONT)

        async def have_ended() -> bool:
            return begun.isdisjoint(await platform.query(_IN_THE_MIDST, ports))

        await eventually(have_ended)
        return False

    await eventually(stands_between_transactions)


def _local_ports(pid: int) -> Iterator[int]:
    """The ports of this machine from which a process is connected."""
    sockets = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if f"socket:[{columns[9]}]" in sockets:
                yield int(columns[1].rpartition(":")[2], 16)
