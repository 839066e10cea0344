"""The same saga as a DBOS workflow: store the order and its items, decide on the stock, record the outcome, publish it.

`python -m tests.bench.dbos_saga --in-flight 64 --seconds 5`, with DATABASE_URL and RABBITMQ_URL. As in DBOS's own
benchmark (dbos-inc/dbos-postgres-benchmark) several processes execute workflows, one for each CPU here; each starts a
workflow in a thread whenever one of its own has ended. Tuned as its documentation allows: pools of a size that was
fastest here, no ping before each use of a connection, no OpenTelemetry, no log below errors, no queue, a fixed version.

Where it does less than the service, so that nothing is held against it: nobody calls it over gRPC; the stock service is
a function in the workflow, not a process behind a broker; an order has no history beyond its outcome. Its steps are
plain ones with idempotent statements, pipelined: that is faster here than the transactions of a DBOS datasource.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg_pool import ConnectionPool

from tests.bench.bare.publisher_thread import publishing
from tests.bench.dbos_workflow import TABLES, Order, order_number, workflow
from tests.bench.stopwatch import Stopwatch, add_watch

_WARM_UP_SECONDS: Final = 2.0
_POOL: Final = 10
"""Connections of each pool. More cost more: each has to parse and plan every statement for itself."""

_START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Executed:
    """What one process executed, from when to when by the monotonic clock, and the CPU time it took for it."""

    count: int
    began: float
    ended: float
    cpu_seconds: float


def main() -> int:
    """Prepares the database, runs the processes, and says what they did."""
    options = _parser().parse_args()
    url = os.environ["DATABASE_URL"]
    _prepare(url)
    executed, watched = _run(url, options)
    count = sum(one.count for one in executed)
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from orders where status = 'CONFIRMED'").fetchone()
    if not row or row[0] < count:
        print(f"{count} workflows ended, but {row} orders are confirmed", file=sys.stderr)  # noqa: T201
        return 1
    seconds = max(one.ended for one in executed) - min(one.began for one in executed)
    spent = sum(one.cpu_seconds for one in executed)
    result = {"rate": count / seconds, "count": count, "cpu_seconds": {"limit": spent, **watched}}
    print(json.dumps(result))  # noqa: T201
    return 0


def _prepare(url: str) -> None:
    """Our tables and DBOS's own."""
    from dbos import run_dbos_database_migrations

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    run_dbos_database_migrations(system_database_url=url)


def _run(url: str, options: argparse.Namespace) -> tuple[list[Executed], dict[str, float]]:
    """What each process executed; and the CPU time of the watched ones from when all were warm."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, options.in_flight // options.executors)
    warm, results = context.Barrier(options.executors + 1), context.SimpleQueue()
    processes = [
        context.Process(target=_execute, args=(url, number, threads, options.seconds, warm, results), daemon=True)
        for number in range(options.executors)
    ]
    for process in processes:
        process.start()
    warm.wait(_START_SECONDS)
    stopwatch = Stopwatch(dict(options.watch))
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"an executor failed: {[process.exitcode for process in processes]}")
    return [results.get() for _ in processes], stopwatch.read()["cpu_seconds"]


def _execute(url: str, number: int, threads: int, seconds: float, warm: Any, results: Any) -> None:
    """One process."""
    try:
        results.put(_executed(url, number, threads, seconds, warm))
    except BaseException:
        # Nobody needs to wait for this one.
        warm.abort()
        raise


def _executed(url: str, number: int, threads: int, seconds: float, warm: Any) -> Executed:
    """All of DBOS lives here."""
    from dbos import DBOS

    with (
        ConnectionPool(url, min_size=_POOL, max_size=_POOL) as pool,
        publishing(os.environ["RABBITMQ_URL"]) as publish,
    ):
        DBOS(config=_config(url, number, threads))
        saga = workflow(DBOS, pool, publish)
        DBOS.launch()
        _keep_in_flight(saga, number, threads, _WARM_UP_SECONDS)
        warm.wait(_START_SECONDS)
        began, spent = time.monotonic(), time.process_time()
        count = _keep_in_flight(saga, number, threads, seconds)
        executed = Executed(count, began, time.monotonic(), time.process_time() - spent)
        DBOS.destroy()
    return executed


def _config(url: str, number: int, threads: int) -> Any:
    return {
        "name": "order-saga",
        "system_database_url": url,
        "sys_db_pool_size": _POOL,
        "db_engine_kwargs": {"pool_pre_ping": False},
        "max_executor_threads": threads,
        "log_level": "ERROR",
        "executor_id": f"executor-{number}",
        "application_version": "1",
        "run_migrations": False,
    }


def _keep_in_flight(saga: Callable[[Order], str], number: int, threads: int, seconds: float) -> int:
    """How many sagas ended; those that are under way when the time is up are waited for."""
    ends = time.monotonic() + seconds
    counts = [0] * threads
    failures: list[BaseException] = []

    def one_after_another(place: int) -> None:
        try:
            while time.monotonic() < ends and not failures:
                kind = saga(order_number(number + threads * place + counts[place]))
                if kind != "order.confirmed":
                    raise RuntimeError(f"an order ended with {kind}")
                counts[place] += 1
        except BaseException as error:
            failures.append(error)

    started = [threading.Thread(target=one_after_another, args=(place,)) for place in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dbos_saga")
    parser.add_argument("--executors", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--in-flight", type=int, default=64, help="workflows under way at any time, of all processes")
    parser.add_argument("--seconds", type=float, default=5.0, help="for how long workflows are started")
    add_watch(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
