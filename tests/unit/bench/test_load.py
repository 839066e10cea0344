"""What passes between the bench and its processes."""

from pathlib import Path

from tests.bench.load.requests import read_requests, write_requests
from tests.bench.measured import Figure
from tests.bench.orders import batch_request, create_request, create_requests
from tests.bench.pgbench import parsed
from tests.bench.processes import Ended, watch_arguments
from tests.bench.table import cpu_medians

SAID_BY_PGBENCH = """\
pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: insert.sql
number of transactions actually processed: 1034
number of failed transactions: 0 (0.000%)
latency average = 38.632 ms
initial connection time = 41.170 ms
tps = 207.082031 (without initial connection time)
"""


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    requests = list(create_requests(3))

    write_requests(tmp_path / "requests", requests)

    assert list(read_requests(tmp_path / "requests")) == [request.SerializeToString() for request in requests]


def test_the_benchs_orders_have_one_size_and_two_items() -> None:
    requests = [create_request(number) for number in range(1_000)]

    assert {len(request.SerializeToString()) for request in requests} == {len(requests[0].SerializeToString())}
    assert all(len({item.product_id for item in request.items}) == 2 for request in requests)
    assert batch_request(2, 100).requests[7] == create_request(207)


def test_what_pgbench_says_is_read() -> None:
    inserted = parsed(Ended(SAID_BY_PGBENCH, 0.25))

    assert (inserted.transactions, inserted.per_second, inserted.cpu_seconds) == (1034, 207.082031, 0.25)


def test_the_result_of_a_process_is_its_last_line() -> None:
    ended = Ended('a warning\n{"calls": 7}\n', 0.0)

    assert ended.result() == {"calls": 7}


def test_a_server_on_another_machine_is_not_watched() -> None:
    assert watch_arguments({"service": 12, "postgresql": 0}) == ["--watch", "service=12"]


def test_the_cost_of_a_process_is_the_median_of_the_rounds_that_have_it() -> None:
    figures = [Figure(1, {"load": 1, "service": 10}), Figure(1, {"load": 3}), Figure(1, {"load": 2, "service": 20})]

    assert cpu_medians(figures) == {"load": 2, "service": 15}
