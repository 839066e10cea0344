"""A short session of garbage with a fixed seed; `make fuzz` goes on for minutes."""

import asyncio
from pathlib import Path

from tests.fuzz.__main__ import SETTINGS
from tests.fuzz.session import Session
from tests.fuzz.under_test import UnderTest
from tests.integration.platform import Platform, Servers

SEED = 20261121


def test_garbage_of_every_kind_harms_nothing(servers: Servers, tmp_path: Path) -> None:
    with Platform.make(servers, tmp_path) as platform:
        api, worker = asyncio.run(platform.start_both(**SETTINGS))
        with UnderTest.of(platform, api, worker) as under_test:
            report = Session(under_test, SEED, seconds=0, examples=5, say=lambda _: None).run()

    assert report.findings == []
    assert report.healthy_orders > 10
    assert report.parked > 0
