"""Servers whose URL was given: used as they are, once they were seen to answer."""

import socket
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from order_service.private_servers.rabbitmq import speaks_amqp
from order_service.private_servers.unavailable import ServerUnavailable

_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


def check_database(url: str) -> str:
    """Where the database is, in words without a password. Raises ServerUnavailable when it does not let us in."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        # The driver's own words would quote the URL, password and all.
        raise ServerUnavailable("DATABASE_URL is not a URL of PostgreSQL: correct it, or unset it") from None
    place = f"PostgreSQL at {parts.get('host') or 'the default host'}:{parts.get('port') or 5432}"
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.Error as error:
        reason = str(error)
        if password := parts.get("password"):
            reason = reason.replace(str(password), "***")
        raise ServerUnavailable(
            f"{place} from DATABASE_URL cannot be used ({reason}): start it, or correct or unset DATABASE_URL"
        ) from None
    return f"{place}, from DATABASE_URL"


def check_broker(urls: str) -> str:
    """Where the brokers are (several URLs are parted by commas). Raises ServerUnavailable when none answers."""
    places = [_place(url) for url in urls.split(",")]
    named = ", ".join(f"{host}:{port}" for _, host, port in places)
    if not any(_answers(*place) for place in places):
        raise ServerUnavailable(
            f"RabbitMQ at {named} from RABBITMQ_URL does not answer: start it, or correct or unset RABBITMQ_URL"
        )
    return f"RabbitMQ at {named}, from RABBITMQ_URL"


def _place(url: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    try:
        parts = urlsplit(url.strip())
        return parts.scheme, parts.hostname or "localhost", parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ServerUnavailable("RABBITMQ_URL is not an amqp:// or amqps:// URL: correct it, or unset it") from None


def _answers(scheme: str, host: str, port: int) -> bool:
    if scheme == "amqp":
        return speaks_amqp(host, port)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True
