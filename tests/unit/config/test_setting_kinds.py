"""What each kind of setting takes, and what it refuses."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from order_service.config import ConfigError, read

LEAST = {"DATABASE_URL": "postgres://u:p@db/orders", "RABBITMQ_URL": "amqp://u:p@rabbitmq/"}


def problems(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(environ)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1m30s", 90), ("500ms", 0.5), ("24h", 86_400), ("1.5h", 5_400), ("1h2m3s4ms", 3723.004)],
)
def test_a_duration_reads_as_in_go(text: str, seconds: float) -> None:
    settings = read({**LEAST, "SAGA_STOCK_TIMEOUT": text})

    assert settings.saga_stock_timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["60", "s", "0s", "-5s", "1s1m", "1 m", "999999999h", "1d", "\u0665s", "1e3s", "0.0001ms"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    assert "SAGA_STOCK_TIMEOUT: must be a duration" in problems({**LEAST, "SAGA_STOCK_TIMEOUT": text})[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GRPC_PORT", "65536"),
        ("GRPC_PORT", "::1"),
        ("METRICS_PORT", "-1"),
        ("GRPC_HOST", "a b"),
        ("GRPC_HOST", ":::1"),
        ("GRPC_REFLECTION", "maybe"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "201"),
        ("RELAY_WINDOW", "1.5"),
        ("REQUEST_ID_KEEP", "23h"),
        ("DEFAULT_CURRENCY", "usd"),
        ("DEFAULT_CURRENCY", "XAU"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
        ("OTEL_SERVICE_NAME", "a\nb"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, text: str) -> None:
    lines = problems({**LEAST, name: text})

    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: must be ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@db/orders",
        "postgres://u:p@[::1]:5432/orders",
        "postgres://u:p@one:5432,two:5432/orders?target_session_attrs=read-write",
        "postgres://u:p@/orders?host=/var/run/postgresql",
    ],
)
def test_database_urls_that_libpq_takes_are_taken(url: str) -> None:
    assert read({**LEAST, "DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "url", ["postgres://", "postgres:///orders", "host=db user=u", "amqp://db/", "postgres://h h/"]
)
def test_other_database_urls_are_refused(url: str) -> None:
    assert problems({**LEAST, "DATABASE_URL": url})[0].startswith("DATABASE_URL: must be a URL such as postgres://")


def test_a_broker_cluster_is_a_list_of_urls() -> None:
    settings = read({**LEAST, "RABBITMQ_URL": "amqp://u:p@one:5672/, amqps://u:p@two/shop"})

    assert settings.rabbitmq_urls == ("amqp://u:p@one:5672/", "amqps://u:p@two/shop")


@pytest.mark.parametrize(
    "urls", ["amqp://u:p@one,two/", "amqp://u:p@one/,", "http://one", "amqp:///", "amqp://u:p@h:port/"]
)
def test_other_broker_urls_are_refused(urls: str) -> None:
    assert problems({**LEAST, "RABBITMQ_URL": urls})[0].startswith("RABBITMQ_URL: must be one or more URLs")


@pytest.mark.parametrize(
    ("text", "host"), [("::", "[::]"), ("[::1]", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("db-1", "db-1")]
)
def test_a_host_stands_as_it_does_in_an_address(text: str, host: str) -> None:
    assert read({**LEAST, "GRPC_HOST": text}).grpc_host == host
