"""Settings: what is read, what is refused, and what never shows."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import get_type_hints

import pytest

from order_service import config
from order_service.config import API_NEEDS, KNOWN_NAMES, VARIABLES, ConfigError, Settings, read

DATABASE = "postgres://admin:secret@postgres-db:5432/ecommerce"
BROKER = "amqp://guest:guest@rabbitmq:5672/"
LEAST = {"DATABASE_URL": DATABASE, "RABBITMQ_URL": BROKER}


def problems(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(environ)
    return str(caught.value).splitlines()


def test_the_platforms_example_is_read() -> None:
    environ = {
        "GRPC_PORT": ":50054",
        "METRICS_PORT": ":9004",
        "DATABASE_URL": DATABASE,
        "RABBITMQ_URL": BROKER,
        "SAGA_STOCK_TIMEOUT": "60s",
        "OTEL_SERVICE_NAME": "service-order",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "jaeger-tracer:4317",
    }

    settings = read(environ)

    assert (settings.grpc_port, settings.metrics_port) == (50054, 9004)
    assert (settings.database_url, settings.rabbitmq_urls) == (DATABASE, (BROKER,))
    assert settings.saga_stock_timeout == timedelta(minutes=1)
    assert settings.otlp_endpoint == "jaeger-tracer:4317"


def test_every_default_is_of_its_fields_type() -> None:
    hints = get_type_hints(Settings)

    settings = read(LEAST)

    plain = {name: hint for name, hint in hints.items() if name not in ("rabbitmq_urls", "otlp_endpoint")}
    assert {name: type(getattr(settings, name)) for name in plain} == plain
    assert settings.otlp_endpoint is None


def test_an_api_needs_no_broker_and_a_worker_does() -> None:
    settings = read({"DATABASE_URL": DATABASE}, API_NEEDS)

    assert settings.rabbitmq_urls == ()
    assert problems({"DATABASE_URL": DATABASE})[0].startswith("RABBITMQ_URL: is not set")


def test_nothing_is_needed_where_nothing_is_asked_for() -> None:
    assert read({}, need=()).database_url == ""


def test_all_problems_are_listed_at_once_each_on_a_line_that_names_the_variable() -> None:
    environ = {"GRPC_PORT": "http", "SAGA_STOCK_TIMEOUT": "soon", "LOG_FORMAT": "xml", "DEFAULT_CURRENCY": "BTC"}

    lines = problems(environ)

    assert [line.partition(":")[0] for line in lines] == [
        "GRPC_PORT",
        "DATABASE_URL",
        "RABBITMQ_URL",
        "SAGA_STOCK_TIMEOUT",
        "DEFAULT_CURRENCY",
        "LOG_FORMAT",
    ]
    assert "(not 'soon')" in lines[3]


@pytest.mark.parametrize("name", ["DATABASE_URL", "RABBITMQ_URL", "DATABASE_URL_FILE", "RABBITMQ_URL_FILE"])
@pytest.mark.parametrize(
    "value",
    ["mysql://u:hunter2@h/d", "hunter2", "postgres://u:hunter2/@host/db", "x://[hunter2@", "u:hunter2@h", "a\0hunter2"],
)
def test_a_secret_never_shows_in_a_message(name: str, value: str) -> None:
    environ = {**LEAST, name.removesuffix("_FILE"): "", name: value}

    text = "\n".join(problems(environ))

    assert text.startswith(name)
    assert "hunter2" not in text


def test_a_credential_that_strayed_into_another_variable_does_not_show() -> None:
    text = "\n".join(problems({**LEAST, "OTEL_EXPORTER_OTLP_ENDPOINT": "amqp://guest:hunter2@rabbitmq"}))

    assert text == "OTEL_EXPORTER_OTLP_ENDPOINT: must be host:port, http://host:port or https://host:port"


def test_a_secret_never_shows_in_the_settings_repr() -> None:
    text = repr(read(LEAST))

    assert "secret" not in text
    assert "guest" not in text


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text(DATABASE + "\n")

    settings = read({"DATABASE_URL_FILE": str(file), "RABBITMQ_URL": BROKER})

    assert settings.database_url == DATABASE


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    assert problems({**LEAST, "DATABASE_URL_FILE": str(tmp_path / "x")}) == [
        "DATABASE_URL: is set together with DATABASE_URL_FILE; set one of them"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read: No such file or directory"), (b" \n", "is empty"), (b"\xff", "is not text in UTF-8")],
)
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None, expected: str) -> None:
    file = tmp_path / "broker-url"
    if content is not None:
        file.write_bytes(content)

    lines = problems({"DATABASE_URL": DATABASE, "RABBITMQ_URL_FILE": str(file)})

    assert lines == [f"RABBITMQ_URL_FILE: the file {expected}"]


def test_only_secrets_come_from_files() -> None:
    assert {name for name in KNOWN_NAMES if name.endswith("_FILE")} == {
        "DATABASE_URL_FILE",
        "RABBITMQ_URL_FILE",
        "RABBITMQ_MANAGEMENT_URL_FILE",
    }


def test_empty_text_counts_as_not_set() -> None:
    settings = read({**LEAST, "GRPC_PORT": "", "OTEL_EXPORTER_OTLP_ENDPOINT": " "})

    assert settings.grpc_port == 50054
    assert settings.otlp_endpoint is None


def test_variables_that_are_not_ours_are_ignored() -> None:
    assert read({**LEAST, "PATH": "/bin", "GRPC_PORTS": "x"}) == read(LEAST)


def test_the_table_says_of_every_variable_what_it_is_for() -> None:
    assert all(variable.doc and variable.kind.words for variable in VARIABLES)
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)


def test_every_default_in_the_table_is_valid() -> None:
    given = {variable.name: variable.default for variable in VARIABLES if variable.default}

    assert read({**LEAST, **given}) == read(LEAST)
    assert config.WORKER_NEEDS <= KNOWN_NAMES
