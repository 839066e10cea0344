"""The load generator's process: see the package."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

import uvloop

from order_service.pb import order_pb2
from tests.bench.load.closed_loop import Check, Counting, keep_in_flight
from tests.bench.load.requests import read_requests
from tests.bench.rates import percentile
from tests.bench.stopwatch import Stopwatch, add_watch


def main() -> int:
    """The exit code: 1 if a call has failed."""
    options = _parser().parse_args()
    try:
        result = uvloop.run(_measure(options))
    except BaseExceptionGroup as failed:
        print(f"a call failed: {' | '.join(str(_first(failed)).splitlines())}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(result))  # noqa: T201
    return 0


def _first(failed: BaseException) -> BaseException:
    return _first(failed.exceptions[0]) if isinstance(failed, BaseExceptionGroup) else failed


async def _measure(options: argparse.Namespace) -> dict[str, object]:
    counting = Counting()
    check: Check = _all_orders if options.method.endswith("/BatchCreateOrders") else _anything
    requests = list(read_requests(options.requests))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            keep_in_flight(
                options.target, options.method, requests, options.in_flight, options.channels, check, counting
            )
        )
        await asyncio.sleep(options.warm_up)
        stopwatch = Stopwatch({"load": os.getpid()} | dict(options.watch))
        counting.counts = True
        await asyncio.sleep(options.seconds)
        counting.counts = False
        spent = stopwatch.read()
        counting.ended = True
    if not counting.took:
        raise ExceptionGroup("", [AssertionError(f"nothing was answered within {options.seconds} s")])
    percentiles = {f"p{share:.0%}".rstrip("%"): percentile(counting.took, share) for share in (0.5, 0.99)}
    return {"calls": len(counting.took), **percentiles, **spent}


def _anything(answer: bytes) -> None:
    if not answer:
        raise AssertionError("an empty answer")


def _all_orders(answer: bytes) -> None:
    results = order_pb2.BatchCreateOrdersResponse.FromString(answer).results
    wrong = [one.error.message for one in results if not one.HasField("order")]
    if wrong or not results:
        raise AssertionError(f"{len(wrong)} of {len(results)} orders were not stored: {wrong[:1]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description="Keeps calls in flight.")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--method", required=True, metavar="/SERVICE/METHOD")
    parser.add_argument(
        "--requests", required=True, type=Path, metavar="FILE", help="serialised, each after its length"
    )
    parser.add_argument("--in-flight", type=int, default=64, help="calls that are under way at any time")
    parser.add_argument("--channels", type=int, default=4, help="connections that they share")
    parser.add_argument("--warm-up", type=float, default=1.0, metavar="SECONDS", help="not counted")
    parser.add_argument("--seconds", type=float, default=5.0, help="for how long it counts")
    add_watch(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
