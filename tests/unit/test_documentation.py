"""The README says what is so: its tables are those of the code, its links lead somewhere, its commands exist."""

import re
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from prometheus_client.metrics_core import Metric

from order_service.api.errors import INTERNAL, TABLE
from order_service.cli import main
from order_service.config import VARIABLES
from order_service.domain.events import EventType
from order_service.pb import order_pb2
from order_service.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
OWN_METRICS = ("grpc_server_", "order_service_")


def table(*rows: Iterable[str]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def variables_table() -> str:
    rows = [
        (f"`{one.name}`" + (" (secret)" if one.secret else ""), f"`{one.default}`" if one.default else "", one.doc)
        for one in VARIABLES
    ]
    return table(("variable", "default", "what it is"), ("---", "---", "---"), *rows)


def metrics_table() -> str:
    rows = [
        (f"`{_exposed_name(metric)}`", metric.type, _labels(metric.name), metric.documentation)
        for metric in Metrics().registry.collect()
        if metric.name.startswith(OWN_METRICS)
    ]
    return table(("metric", "type", "labels", "what it says"), ("---", "---", "---", "---"), *rows)


def _exposed_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(name: str) -> str:
    collector = Metrics().registry._names_to_collectors[name]
    return ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))


@pytest.mark.parametrize("expected", [variables_table(), metrics_table()], ids=["variables", "metrics"])
def test_the_readmes_tables_are_those_of_the_code(expected: str) -> None:
    assert expected in README, f"put this into README.md:\n\n{expected}"


@pytest.mark.parametrize(
    "name", [method.name for method in order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods]
)
def test_every_rpc_is_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in README


@pytest.mark.parametrize("name", [event.value for event in EventType])
def test_every_event_is_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in README


@pytest.mark.parametrize("code", [*TABLE.values(), INTERNAL], ids=lambda code: code.reason)
def test_every_error_is_in_the_readme(code: object) -> None:
    assert f"| `{code.code.name}` | `{code.reason}` |" in README  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_to_a_file(target: str) -> None:
    assert (ROOT / target).exists()


def test_every_make_target_in_the_readme_is_in_make_help() -> None:
    makefile = (ROOT / "Makefile").read_text()

    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    assert set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)) <= listed


def test_every_phony_target_is_explained_unless_it_is_a_part_of_another() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())

    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

    assert phony - explained == {"proto-check"}


@pytest.mark.parametrize("line", sorted(set(re.findall(r"order-service ([a-z -]+)", README))))
def test_every_command_in_the_readme_exists(line: str) -> None:
    words = line.split()

    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]

    assert command is not main or not words or words[0].startswith("-"), f"order-service {line}"
