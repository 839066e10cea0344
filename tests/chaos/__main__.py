"""`python -m tests.chaos --minutes 10 --seed 1`: exit code 1 if a promise was broken, 69 if a server cannot be had."""

import argparse
import logging
import os
import secrets
import signal
import sys
from pathlib import Path

# Before gRPC is imported: it must not meddle with the processes that are started beside it, nor speak of them.
os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}

import uvloop

from order_service.private_servers import ServerUnavailable
from tests.chaos.disks import keep_mounts_to_ourselves
from tests.chaos.display import Display
from tests.chaos.platform import Options, chaos


def main() -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Breaks everything, and counts.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults strike")
    parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same plan")
    parser.add_argument("--rate", type=float, default=25.0, help="orders per second")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="this kind of fault; may be repeated"
    )
    parser.add_argument("--folder", type=Path, default=Path("build"), help="where figures, picture and logs go")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    keep_mounts_to_ourselves()
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        kept = uvloop.run(
            chaos(Options(given.minutes * 60, seed, given.rate, tuple(given.only), given.folder), Display())
        )
    except ServerUnavailable as error:
        Display().say(str(error))
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
