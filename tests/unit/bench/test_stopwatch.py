"""CPU time of processes, for each operation."""

import argparse
import os

from tests.bench.processes import watch_arguments
from tests.bench.stopwatch import Stopwatch, add_watch, figure


def test_cpu_time_is_told_for_each_operation() -> None:
    told = figure(200.0, 1_000, {"service": 0.5, "postgresql": 0.02}, p99=0.25, count=1_000)

    assert told.value == 200.0
    assert told.cpu_us == {"service": 500.0, "postgresql": 20.0}
    assert told.more == {"p99": 0.25, "count": 1_000}


def test_what_a_process_spends_is_seen_and_unknown_processes_are_left_out() -> None:
    stopwatch = Stopwatch({"own": os.getpid(), "elsewhere": 0})
    began = os.times()

    while (os.times().user - began.user) < 0.1:
        sum(range(10_000))
    read = stopwatch.read()

    assert read["cpu_seconds"].keys() == {"own"}
    assert read["cpu_seconds"]["own"] >= 0.09
    assert read["seconds"] > 0


def test_watched_processes_are_read_as_they_were_written() -> None:
    parser = argparse.ArgumentParser()
    add_watch(parser)

    options = parser.parse_args(watch_arguments({"postgresql": 12, "rabbitmq": 0, "service": 34}))

    assert dict(options.watch) == {"postgresql": 12, "service": 34}
