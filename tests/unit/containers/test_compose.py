"""The container files against the specification, the table of settings and the catalogue of metrics."""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

from order_service.config import KNOWN_NAMES, WORKER_NEEDS, read

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "order-service:local"]
CONFIGURED = ["api", "worker", "migrate"]


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    lines = (ROOT / service["env_file"]).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    given = {name: value for name, _, value in pairs}
    return {**given, **service.get("environment", {})}


def dependencies() -> Iterator[tuple[str, str]]:
    for service in SERVICES.values():
        for target, how in service.get("depends_on", {}).items():
            yield target, how["condition"]


def test_the_file_is_what_the_compose_specification_takes() -> None:
    # check-jsonschema carries the specification's schema, unchanged.
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())

    validator_for(schema)(schema).validate(COMPOSE)


@pytest.mark.parametrize("name", CONFIGURED)
def test_only_known_variables_are_set_and_all_that_is_needed(name: str) -> None:
    given = environment(SERVICES[name])

    assert given.keys() <= KNOWN_NAMES
    assert read(given, WORKER_NEEDS).otel_service_name == "service-order"


def test_host_names_in_the_settings_are_on_the_network() -> None:
    settings = read(environment(SERVICES["worker"]))

    aliases = {
        alias
        for name, service in SERVICES.items()
        for alias in [name, *service.get("networks", {}).get("default", {}).get("aliases", [])]
    }
    assert settings.otlp_endpoint is not None
    addresses = (settings.database_url, *settings.rabbitmq_urls, settings.otlp_endpoint)
    assert {re.split(r"[:/]", address.rpartition("@")[2])[0] for address in addresses} <= aliases


def test_whatever_is_depended_on_is_waited_for_until_it_is_well_or_done() -> None:
    assert {condition for _, condition in dependencies()} == {"service_healthy", "service_completed_successfully"}


def test_whatever_must_be_well_can_tell() -> None:
    # Ours can: the image has a HEALTHCHECK.
    waited_for = {target for target, condition in dependencies() if condition == "service_healthy"}

    silent = {
        name for name in waited_for if SERVICES[name].get("healthcheck", {"disable": name not in OURS}).get("disable")
    }
    assert silent == set()


def test_whatever_must_be_done_is_not_started_again_once_it_is() -> None:
    done = {target for target, condition in dependencies() if condition == "service_completed_successfully"}

    assert {SERVICES[name]["restart"] for name in done} == {"on-failure"}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_rights_and_a_read_only_root(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_our_containers_are_given_longer_to_stop_than_they_take() -> None:
    settings = read(environment(SERVICES["worker"]))

    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > settings.shutdown_grace.total_seconds()


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    users = re.findall(r"^USER (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert users == ["10001:10001"]


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_files_that_containers_mount_are_there() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]

    assert [mount for mount in mounts if mount.startswith(".") and not (ROOT / mount).exists()] == []


def test_every_copy_of_our_processes_is_scraped() -> None:
    prometheus = yaml.safe_load((ROOT / "env/prometheus/prometheus.yml").read_text())

    looked_up = [entry for job in prometheus["scrape_configs"] for entry in job.get("dns_sd_configs", [])]
    port = read(environment(SERVICES["worker"])).metrics_port
    assert [(entry["names"], entry["port"]) for entry in looked_up] == [(["api"], port), (["worker"], port)]
