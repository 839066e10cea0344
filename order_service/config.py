"""The settings of a process, read once from its environment, before anything starts.

Guarantees: all errors are reported at once, each on a line of its own that names the variable; the value of a secret is
never part of a message, nor of the repr of `Settings`. Variables that are not in the table are none of our business.

Fails with `ConfigError`, and with nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from order_service.domain.errors import OrderServiceError
from order_service.setting_kinds import (
    BROKER_URLS,
    CURRENCY,
    DATABASE_URL,
    ENDPOINT,
    HOST,
    HTTP_URL,
    PORT,
    SWITCH,
    TEXT,
    Kind,
    duration,
    one_of,
    ratio,
    whole_number,
)

API_NEEDS: Final = frozenset({"DATABASE_URL"})
WORKER_NEEDS: Final = frozenset({"DATABASE_URL", "RABBITMQ_URL"})


class ConfigError(OrderServiceError):
    """The environment is not fit to start with: one line for each problem. Change it and start again."""

    def __init__(self, problems: Collection[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Variable:
    """A row of the table. A secret may also come from the file that NAME_FILE names."""

    name: str
    kind: Kind
    default: str | None
    doc: str
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table: each setting, the variable it comes from, its default and what it is for."""

    grpc_port: Annotated[int, Variable("GRPC_PORT", PORT, ":50054", "port of the gRPC server")]
    grpc_host: Annotated[str, Variable("GRPC_HOST", HOST, "[::]", "address that the gRPC server listens on")]
    grpc_reflection: Annotated[bool, Variable("GRPC_REFLECTION", SWITCH, "on", "whether gRPC reflection is served")]
    metrics_port: Annotated[int, Variable("METRICS_PORT", PORT, ":9004", "port of /metrics, /healthz and /readyz")]
    metrics_host: Annotated[str, Variable("METRICS_HOST", HOST, "0.0.0.0", "address that they are served on")]  # noqa: S104
    database_url: Annotated[
        str,
        Variable(
            "DATABASE_URL",
            DATABASE_URL,
            None,
            "PostgreSQL, one host or several; may be shared with other services",
            secret=True,
        ),
    ] = field(repr=False)
    rabbitmq_urls: Annotated[
        tuple[str, ...],
        Variable("RABBITMQ_URL", BROKER_URLS, None, "RabbitMQ, one URL for each node; the worker only", secret=True),
    ] = field(repr=False)
    rabbitmq_management_url: Annotated[
        str, Variable("RABBITMQ_MANAGEMENT_URL", HTTP_URL, None, "RabbitMQ's HTTP API; `doctor` only", secret=True)
    ] = field(repr=False)
    saga_stock_timeout: Annotated[
        timedelta, Variable("SAGA_STOCK_TIMEOUT", duration(), "60s", "how long to wait for StockUpdateResult")
    ]
    saga_payment: Annotated[bool, Variable("SAGA_PAYMENT", SWITCH, "off", "whether the saga has a payment step")]
    saga_payment_timeout: Annotated[
        timedelta, Variable("SAGA_PAYMENT_TIMEOUT", duration(), "60s", "how long to wait for PaymentResult")
    ]
    default_currency: Annotated[
        str, Variable("DEFAULT_CURRENCY", CURRENCY, "USD", "currency of prices that come without one")
    ]
    database_pool_size: Annotated[
        int, Variable("DATABASE_POOL_SIZE", whole_number(1, 200), "10", "connections to PostgreSQL, at most")
    ]
    database_timeout: Annotated[
        timedelta, Variable("DATABASE_TIMEOUT", duration(), "5s", "how long to wait for a connection or a statement")
    ]
    group_commit_size: Annotated[
        int, Variable("GROUP_COMMIT_SIZE", whole_number(1, 1_000), "128", "orders that one transaction stores, at most")
    ]
    relay_window: Annotated[
        int,
        Variable(
            "RELAY_WINDOW", whole_number(1, 10_000), "128", "events in flight; as many may be sent twice by a crash"
        ),
    ]
    consumer_prefetch: Annotated[
        int, Variable("CONSUMER_PREFETCH", whole_number(1, 10_000), "256", "replies taken in one transaction, at most")
    ]
    relay_park_after: Annotated[
        timedelta, Variable("RELAY_PARK_AFTER", duration(), "24h", "a request that nobody takes is parked after this")
    ]
    reply_retry_for: Annotated[
        timedelta, Variable("REPLY_RETRY_FOR", duration(), "5m", "a reply for an unknown order is parked after this")
    ]
    inbox_keep: Annotated[
        timedelta, Variable("INBOX_KEEP", duration(), "168h", "how long a repeated reply is known by its message id")
    ]
    request_id_keep: Annotated[
        timedelta,
        Variable("REQUEST_ID_KEEP", duration(timedelta(hours=24)), "72h", "how long a request_id is remembered"),
    ]
    shutdown_grace: Annotated[
        timedelta, Variable("SHUTDOWN_GRACE", duration(), "20s", "how long what is in flight may take to finish")
    ]
    log_level: Annotated[
        str, Variable("LOG_LEVEL", one_of("debug", "info", "warning", "error", "critical"), "info", "what is logged")
    ]
    log_format: Annotated[str, Variable("LOG_FORMAT", one_of("json", "console"), "json", "how it is written")]
    otel_service_name: Annotated[str, Variable("OTEL_SERVICE_NAME", TEXT, "service-order", "name in traces")]
    otlp_endpoint: Annotated[
        str | None,
        Variable("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT, None, "where traces go (OTLP over gRPC); unset: nowhere"),
    ]
    trace_sample_ratio: Annotated[
        float, Variable("OTEL_TRACES_SAMPLER_ARG", ratio(), "1.0", "share of the new traces that are kept")
    ]


_BY_FIELD: Final[Mapping[str, Variable]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Settings, include_extras=True).items()
}

VARIABLES: Final = tuple(_BY_FIELD.values())
"""Every variable that is read, in the order in which people should see them."""

KNOWN_NAMES: Final = frozenset(
    {variable.name for variable in VARIABLES} | {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
)
"""Every name that may be set, those of files with secrets included."""


def read(environ: Mapping[str, str], need: Collection[str] = WORKER_NEEDS) -> Settings:
    """The settings; `need` names the variables without which this process cannot run. Empty text counts as not set.

    Raises ConfigError."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, variable in _BY_FIELD.items():
        try:
            values[name] = _value(variable, environ, variable.name in need)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Settings(**values)


def _value(variable: Variable, environ: Mapping[str, str], needed: bool) -> object:
    text = _given(variable, environ) or variable.default
    if text is None and needed:
        raise ConfigError([f"{variable.name}: is not set; it must be {variable.kind.words}"])
    if text is None:
        return variable.kind.absent
    try:
        return variable.kind.parse(text)
    except ValueError:
        # "@": a credential may have strayed into a variable that is no secret.
        shown = "" if variable.secret or "@" in text else f" (not {text!r})"
        raise ConfigError([f"{variable.name}: must be {variable.kind.words}{shown}"]) from None


def _given(variable: Variable, environ: Mapping[str, str]) -> str:
    text = environ.get(variable.name, "").strip()
    file = environ.get(f"{variable.name}_FILE", "").strip() if variable.secret else ""
    if text and file:
        raise ConfigError([f"{variable.name}: is set together with {variable.name}_FILE; set one of them"])
    return _content(f"{variable.name}_FILE", file) if file else text


def _content(name: str, file: str) -> str:
    """The path stays out of the messages: people put the secret itself there."""
    try:
        text = Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError([f"{name}: the file cannot be read: {error.strerror}"]) from None
    except ValueError:
        raise ConfigError([f"{name}: the file is not text in UTF-8"]) from None
    if not text:
        raise ConfigError([f"{name}: the file is empty"])
    return text
