"""On what servers figures count."""

import pytest

from order_service.private_servers import ServerUnavailable
from tests.bench.servers import Environment, check_durable

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


def test_a_server_that_keeps_what_it_commits_is_taken() -> None:
    check_durable(DURABLE)


@pytest.mark.parametrize("setting", DURABLE)
def test_a_server_that_may_lose_what_it_commits_is_refused(setting: str) -> None:
    with pytest.raises(ServerUnavailable, match=f"does not have {setting} set to on"):
        check_durable(DURABLE | {setting: "off"})


def test_figures_come_with_the_versions_and_settings_that_they_hold_for() -> None:
    environment = Environment(
        postgresql="PostgreSQL 15.18 (Debian) on x86_64",
        settings=DURABLE,
        rabbitmq="RabbitMQ 3.10.8 on Erlang/OTP 25",
        python="3.11.7",
        packages={"grpcio": "1.85.1"},
        cpus=2,
        processor="a processor",
        kernel="Linux 6",
    )

    told = " ".join(environment.lines())

    assert all(one in told for one in ("15.18", "fsync on", "3.10.8", "3.11.7", "grpcio 1.85.1", "2 CPUs"))
    assert "fsync on" in " ".join(environment.short())
    assert environment.as_json()["settings"] == DURABLE
