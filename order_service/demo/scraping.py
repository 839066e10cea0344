"""What the processes say of themselves on /metrics."""

import asyncio
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from order_service.demo.failure import DemoFailed
from order_service.private_servers.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Told:
    """Counters, added up over processes."""

    duplicates_ignored: int
    late_replies: int
    compensations: int


async def scrape(ports: Iterable[int]) -> Told:
    """Raises DemoFailed."""
    pages = await asyncio.gather(*(asyncio.to_thread(_page, port) for port in ports))
    return Told(
        duplicates_ignored=_total(pages, "order_service_replies_total", {"outcome": "duplicate"}),
        late_replies=_total(pages, "order_service_replies_total", {"outcome": "late"}),
        compensations=_total(pages, "order_service_compensations_total", {}),
    )


def _page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError as error:
        raise DemoFailed(f"/metrics on port {port} does not answer: {error}") from error


def _total(pages: Iterable[str], name: str, labels: Mapping[str, str]) -> int:
    samples = (
        sample
        for page in pages
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return int(sum(sample.value for sample in samples))
