"""The processes of the service, and what is done around them."""

import asyncio
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Final

import click

from order_service import bootstrap, config, lifecycle
from order_service.cli.exits import FAILED, OK, told
from order_service.storage import migrations

_MOST_PROCESSES: Final = 64


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(1, _MOST_PROCESSES),
    default=1,
    show_default=True,
    help="So many share the port and the metrics, to use more than one core.",
)
@click.option("--report-to", type=int, hidden=True, help="Set by the one that starts several.")
@told
def api(processes: int, report_to: int | None) -> None:
    """Serve gRPC until SIGTERM.

    Needs DATABASE_URL, never RabbitMQ. Any number may run, each on a port of its own, or with --processes on one: each
    has a pool of DATABASE_POOL_SIZE connections, and the connections of clients are spread over them.

    \b
    Example: a second server beside the first
      GRPC_PORT=:50055 METRICS_PORT=:9006 order-service api
    Example: a server for a machine with four cores
      order-service api --processes 4
    """
    settings = config.read(os.environ, config.API_NEEDS)
    serving = bootstrap.api(settings, report_to) if processes == 1 else bootstrap.api_group(settings, processes)
    sys.exit(lifecycle.run(serving))


@click.command()
@click.option(
    "--only",
    type=click.Choice([role.value for role in bootstrap.Role]),
    multiple=True,
    help="Do only this; may be given more than once. Without it: relay, consumer and timers.",
)
@told
def worker(only: Collection[str]) -> None:
    """Carry sagas until SIGTERM.

    Publishes events, consumes replies and keeps deadlines. Needs DATABASE_URL and RABBITMQ_URL. Any number of workers
    may run at once.

    \b
    Example: a worker that only publishes events
      order-service worker --only relay
    """
    settings = config.read(os.environ, config.WORKER_NEEDS)
    roles = {bootstrap.Role(role) for role in only} or set(bootstrap.Role)
    sys.exit(lifecycle.run(bootstrap.worker(settings, roles)))


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something is not applied.")
@told
def migrate(check: bool) -> None:
    """Bring the database's schema up to date.

    Safe to run at any time, by any number at once, and while the previous version serves. Needs DATABASE_URL.

    \b
    Example:
      order-service migrate --check || order-service migrate
    """
    url = config.read(os.environ, config.API_NEEDS).database_url
    known = bootstrap.known_migrations()
    if check:
        asyncio.run(migrations.check(url, known))
        click.echo("the schema is up to date")
        return
    applied = asyncio.run(migrations.migrate(url, known, lambda name: click.echo(f"applied {name}")))
    if not applied:
        click.echo("the schema was up to date")


@click.command()
@click.option("--url", help="Address of the probe. Default: /readyz on METRICS_PORT of this machine.")
@click.option("--seconds", default=3.0, show_default=True, help="How long to wait for an answer.")
@told
def health(url: str | None, seconds: float) -> None:
    """Ask a process whether it can serve.

    Exit code 0 if so, else 1. For the health checks of containers.

    \b
    Example: is it alive, whether or not it can serve?
      order-service health --url http://127.0.0.1:9004/healthz
    """
    port = config.read(os.environ, frozenset()).metrics_port
    address = url or f"http://127.0.0.1:{port}/readyz"
    healthy, text = _probe(address, seconds)
    click.echo(text)
    sys.exit(OK if healthy else FAILED)


def _probe(address: str, seconds: float) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:  # noqa: S310 - the operator's own address
            return True, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return False, error.read().decode().strip()
    except (OSError, ValueError) as error:
        return False, f"no answer from {address}: {error}"
