"""Runs a command beside both servers: `python -m order_service.private_servers [--management] [--fast] -- COMMAND ...`

COMMAND finds them in DATABASE_URL, RABBITMQ_URL and, with --management, RABBITMQ_MANAGEMENT_URL. Its exit status is
passed on (128 + n when signal n ended it). Signals that ask for an end go to COMMAND; when it has ended, the servers
stop. If this process is killed outright, COMMAND gets SIGTERM. Status 69 means that a server could not be had.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from order_service.private_servers import Servers, ServerUnavailable, private_servers
from order_service.private_servers.account import MISSING_SETPRIV
from order_service.private_servers.child_process import bound_to_us

_FOLDER = Path(".private-servers")


def main() -> int:
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        with private_servers(
            _FOLDER,
            environ=os.environ,
            durable=not options.fast,
            management=options.management,
            say=_say,
        ) as servers:
            return _run(options.command, _environ(servers))
    except ServerUnavailable as error:
        _say(str(error))
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m order_service.private_servers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--management", action="store_true", help="give a private RabbitMQ its HTTP API")
    parser.add_argument("--fast", action="store_true", help="PostgreSQL without fsync: for tests only")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after --")
    return parser


def _environ(servers: Servers) -> Mapping[str, str]:
    """Ours with the servers in it, and without the management URL of a broker that is not the one in use."""
    environ = {name: value for name, value in os.environ.items() if name != "RABBITMQ_MANAGEMENT_URL"}
    environ |= {"DATABASE_URL": servers.database_url, "RABBITMQ_URL": servers.rabbitmq_url}
    if servers.rabbitmq_management_url:
        environ["RABBITMQ_MANAGEMENT_URL"] = servers.rabbitmq_management_url
    return environ


def _run(command: list[str], environ: Mapping[str, str]) -> int:
    try:
        child = subprocess.Popen(bound_to_us(command, signal.SIGTERM), env=environ)
    except FileNotFoundError as error:
        raise ServerUnavailable(MISSING_SETPRIV) from error

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _terminal_is_ours():
            child.send_signal(number)

    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        status = child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    return status if status >= 0 else 128 - status


def _terminal_is_ours() -> bool:
    """Whether Ctrl-C reaches COMMAND by itself, as it does every process in the terminal's foreground."""
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
