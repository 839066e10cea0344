"""A real Prometheus that scrapes processes of the service."""

import asyncio
import json
import os
import shutil
import signal
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from order_service.private_servers.child_process import Program, running
from order_service.private_servers.install_debian import Package, install
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.integration.platform import http_get

_PACKAGE = Package("prometheus", title="Prometheus", size="22 MB")
_CONFIGURATION = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Asked over its HTTP API."""

    port: int

    def targets(self) -> dict[str, tuple[str, str]]:
        """The health and the last error of each target that has been scraped."""
        active = (self._get("targets") or {"activeTargets": []})["activeTargets"]
        return {one["labels"]["job"]: (one["health"], one["lastError"]) for one in active if one["health"] != "unknown"}

    def value(self, query: str) -> float | None:
        """What a query that gives one number gives now, or None if it gives nothing."""
        found = self._get(f"query?query={urllib.parse.quote(query)}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def _get(self, path: str) -> Any:
        status, text = http_get(self.port, f"/api/v1/{path}")
        return json.loads(text)["data"] if status == 200 else None


@contextmanager
def prometheus(folder: Path, ports: Mapping[str, int]) -> Iterator[Prometheus]:
    """Scrapes the /metrics on each of these ports, under its name as the job."""
    configuration = folder / "prometheus.yml"
    targets = {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}
    jobs = [f"  - {{job_name: {name}, static_configs: [{{targets: ['{at}']}}]}}" for name, at in targets.items()]
    configuration.write_text(_CONFIGURATION + "\n".join(jobs) + "\n")
    with reserved_ports(1) as (port,):
        command = (
            program("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}",
        )
        farewell = ((signal.SIGTERM, 5.0),)
        with running(Program("Prometheus", command, os.environ, folder / "log", signal.SIGKILL, farewell)):
            yield Prometheus(port)


async def complaints(metrics: str) -> str:
    """What Prometheus's own linter has to say about an answer of /metrics."""
    linter = await asyncio.create_subprocess_exec(
        program("promtool"),
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await linter.communicate(metrics.encode())
    return output.decode() or (f"exit status {linter.returncode}" if linter.returncode else "")


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`, installed if need be. Raises ServerUnavailable."""
    if shutil.which(name) is None:
        install(_PACKAGE, lambda _: None)
    return shutil.which(name) or name
