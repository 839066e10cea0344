"""The dashboard asks only for metrics and labels that the catalogue has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from order_service.telemetry.metrics import Metrics

GRAFANA = Path(__file__).parents[3] / "env/grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/order-service.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
FAMILY_SAMPLES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}
PROCESS_LABEL = "process"
"""Tells the processes of `order-service api --processes N` apart."""


def expressions() -> Iterator[str]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"]


def bare(expression: str) -> str:
    """Without strings, durations and label lists: what is left are metrics, functions and operators."""
    return re.sub(
        r"\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", re.sub(r'"[^"]*"', "", expression)
    )


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b[a-z][a-z0-9_]*_[a-z0-9_]+\b(?!\s*\()", bare(expression)))


def labels_in(expression: str, legend: str) -> set[str]:
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    return {*matched, *re.findall(r"\w+", " ".join(grouped)), *re.findall(r"\{\{(\w+)\}\}", legend)}


@pytest.fixture(scope="module")
def catalogue() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def samples(catalogue: Metrics) -> set[str]:
    return {family.name + suffix for family in catalogue.registry.collect() for suffix in FAMILY_SAMPLES[family.type]}


def test_every_query_names_catalogued_metrics_only(samples: set[str]) -> None:
    unknown = {name for expression in expressions() for name in metrics_in(expression)} - samples

    assert unknown == set()


def test_every_query_names_at_least_one_metric() -> None:
    assert [expression for expression in expressions() if not metrics_in(expression)] == []


def test_every_label_is_one_of_a_metric_in_the_query(catalogue: Metrics) -> None:
    metrics = [metric for metric in vars(catalogue).values() if isinstance(metric, MetricWrapperBase)]
    labels = {metric._name: set(metric._labelnames) for metric in metrics}

    for panel in PANELS:
        for target in panel["targets"]:
            named = metrics_in(target["expr"])
            known = {label for name, own in labels.items() if any(n.startswith(name) for n in named) for label in own}
            if any(name.startswith("process_") for name in named):
                known.add(PROCESS_LABEL)
            assert labels_in(target["expr"], target["legendFormat"]) <= known | ADDED_BY_PROMETHEUS


def test_every_metric_of_our_own_is_on_the_dashboard(catalogue: Metrics) -> None:
    own = {family.name for family in catalogue.registry.collect() if family.name.startswith("order_service_")}

    shown = " ".join(expressions())
    assert {name for name in own if name not in shown} == set()


def test_panels_have_ids_of_their_own_and_say_what_they_show() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]

    assert len(set(ids)) == len(ids)
    assert all(panel["title"] and panel["description"] for panel in PANELS)


def test_panels_ask_the_datasource_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())

    asked = {panel["datasource"]["uid"] for panel in PANELS}
    assert asked <= {source["uid"] for source in provisioned["datasources"]}
