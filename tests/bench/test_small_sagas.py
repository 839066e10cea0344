"""A small version of the rows that pass through the broker, so that they do not rot. Nothing is said of speed here."""

import importlib.util
from pathlib import Path

import pytest

from tests.bench.measured import SECONDS, Figure, NotMeasured, Row
from tests.bench.messaging_rows import ROWS as MESSAGING
from tests.bench.saga_rows import ROWS as SAGAS
from tests.integration.platform import Servers

ROWS = {row.name: row for row in (*MESSAGING, *SAGAS)}
HAS_DBOS = importlib.util.find_spec("dbos") is not None


async def measured(row: Row, servers: Servers, folder: Path) -> tuple[Figure, Figure]:
    """Limit and service, for less than a second each."""
    SECONDS.set(0.4)
    async with row.opened(servers, folder, lambda _: None) as pair:
        return await pair.limit(), await pair.service()


@pytest.mark.parametrize("name", ["relay", "consumer"])
async def test_both_ends_of_the_worker_are_measured(name: str, servers: Servers, tmp_path: Path) -> None:
    limit, service = await measured(ROWS[name], servers, tmp_path)

    assert limit.value > 0 < service.value
    assert limit.cpu_us["limit"] > 0


async def test_the_latency_of_a_saga_is_measured_beside_that_of_its_parts(servers: Servers, tmp_path: Path) -> None:
    limit, service = await measured(ROWS["latency"], servers, tmp_path)

    parts = {"commit", "confirm_1", "delivery_1", "confirm_2", "delivery_2"}
    assert limit.more.keys() == parts
    assert limit.value == pytest.approx(sum(limit.more.values()))
    assert service.value == service.more["p50"] <= service.more["p90"] <= service.more["p99"] <= service.more["max"]
    assert service.cpu_us.keys() >= {"api", "worker", "stock", "load"}


@pytest.mark.skipif(not HAS_DBOS, reason="only `make bench` installs DBOS")
async def test_the_saga_is_measured_beside_that_of_dbos(servers: Servers, tmp_path: Path) -> None:
    limit, service = await measured(ROWS["saga"], servers, tmp_path)

    assert limit.value > 0 < service.value
    assert limit.cpu_us["limit"] > 0
    assert service.cpu_us.keys() >= {"api", "worker", "stock", "load", "recorder"}


@pytest.mark.skipif(HAS_DBOS, reason="DBOS is here")
async def test_without_dbos_the_saga_row_says_how_to_get_it(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="pip install"):
        await measured(ROWS["saga"], servers, tmp_path)
