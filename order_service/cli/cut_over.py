"""`order-service cut-over`: what the service before this one left in its queue."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from typing import Any, Final

import click

from order_service import bootstrap, config
from order_service.broker.management import ManagementApi
from order_service.broker.topology import OLD_STOCK_QUEUE
from order_service.cli.database import with_database
from order_service.cli.exits import FAILED, INTERRUPTED, OK, UNAVAILABLE, fail, told
from order_service.cli.output import note, print_json
from order_service.cli.quiet import send_logs_nowhere
from order_service.domain.errors import OrderServiceError, ServiceUnavailable
from order_service.inbox.cut_over import CutOver, Wanted
from order_service.inbox.receive import Receiver
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness

_OUTCOMES: Final = ("applied", "duplicate", "late", "ignored", "unknown", "parked")


@click.command("cut-over")
@click.option("--delete", is_flag=True, help="Delete the old queue at the end, if it is empty and idle.")
@click.option("--force", is_flag=True, help="Even if no worker runs, or others still consume the old queue.")
@click.option("--json", "as_json", is_flag=True, help="For programs; progress goes to standard error.")
@told
def cut_over(delete: bool, force: bool, as_json: bool) -> None:
    """Take over the queue of the service before this one.

    Handles the replies that wait in order_service_stock_update_queue as a worker does, each with effect once, then
    unbinds that queue from stock_update_exchange. First start the workers, then stop the old service, then run this.
    It may be run again at any time, and must be if it was interrupted. Needs DATABASE_URL and RABBITMQ_URL; with
    RABBITMQ_MANAGEMENT_URL it also sees whether a binding is left. See docs/cut-over.md.

    \b
    Example: and a day later, when nobody wants the old service back
      order-service cut-over && sleep 1d && order-service cut-over --delete
    """
    settings = config.read(os.environ, config.WORKER_NEEDS)
    send_logs_nowhere()
    run = _Run(settings)
    code, wrong = _ended(run, Wanted(delete, force, run.management()))
    if as_json:
        print_json(run.document(complete=code == OK))
    elif code == OK or (run.work and run.work.handled):
        _print(run)
    if code != OK:
        fail(wrong, code)


@dataclass(slots=True)
class _Run:
    """A run of the command, as far as it has come."""

    settings: config.Settings
    metrics: Metrics = field(default_factory=Metrics)
    work: CutOver | None = None

    async def carry_out(self, database: Database, wanted: Wanted) -> None:
        receiver = Receiver(
            StepName.STOCK,
            database,
            self.settings.rabbitmq_urls,
            self.settings.consumer_prefetch,
            bootstrap.saga_rules(self.settings),
            self.metrics,
            Readiness(),
            asyncio.Event(),
        )
        with click.progressbar(length=0, label="draining", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

            def on_progress(count: int, found: int) -> None:
                bar.length = max(found, bar.pos + count)
                bar.update(count)

            self.work = CutOver(receiver, self.settings.rabbitmq_urls, self.settings.consumer_prefetch, on_progress)
            await self.work.run(wanted)

    def management(self) -> ManagementApi | None:
        """RabbitMQ's HTTP API, if its address was given."""
        url = self.settings.rabbitmq_management_url
        return ManagementApi.at(url, self.settings.rabbitmq_urls[0]) if url else None

    def outcomes(self) -> dict[str, int]:
        """How many replies came to what, as the catalogue of metrics names it."""
        return {outcome: int(self._counted(outcome)) for outcome in _OUTCOMES}

    def _counted(self, outcome: str) -> float:
        labels = {"step": StepName.STOCK.value, "outcome": outcome}
        return self.metrics.registry.get_sample_value("order_service_replies_total", labels) or 0.0

    def document(self, complete: bool) -> dict[str, Any]:
        """These names are a contract with programs: add, never change."""
        work = self.work
        return {
            "complete": complete,
            "queue": OLD_STOCK_QUEUE,
            "existed": bool(work and work.existed),
            "handled": work.handled if work else 0,
            "outcomes": self.outcomes(),
            "unbound": bool(work and work.unbound),
            "left": work.left if work else None,
            "deleted": bool(work and work.deleted),
        }


def _ended(run: _Run, wanted: Wanted) -> tuple[int, str]:
    """The exit code, and what went wrong."""
    try:
        asyncio.run(with_database(run.settings, lambda database: run.carry_out(database, wanted)))
    except ServiceUnavailable as error:
        return UNAVAILABLE, f"{error}; nothing is lost: run it again"
    except OrderServiceError as error:
        return FAILED, str(error)
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted; nothing is lost: run it again"
    return OK, ""


def _print(run: _Run) -> None:
    work = run.work
    if work is None or not work.existed:
        click.echo(f"there is no queue {OLD_STOCK_QUEUE}: nothing to do")
        return
    counts = ", ".join(f"{name} {count}" for name, count in run.outcomes().items() if count)
    click.echo(f"handled {work.handled} replies{f': {counts}' if counts else ''}")
    if work.unbound:
        click.echo(f"unbound {OLD_STOCK_QUEUE}" + (", empty" if work.left == 0 else ""))
    if work.deleted:
        click.echo(f"deleted {OLD_STOCK_QUEUE}")
    if unknown := run.outcomes()["unknown"]:
        note(f"{unknown} are for orders that this service does not know: kept, see 'order-service parked list'")
