"""The judgement: what the figures of a run must be, by what the service promises."""

from collections.abc import Collection, Iterator
from typing import Final

from order_service.demo.figures import Figures

_NAMED: Final = 3
_POISON_MESSAGES: Final = 1


def problems(figures: Figures) -> list[str]:
    """What is wrong, a line for each; empty if every promise was kept."""
    return [*_lost(figures), *_not_as_promised(figures), *_not_as_planned(figures)]


def _lost(figures: Figures) -> Iterator[str]:
    yield from _named("acknowledged orders are lost", figures.lost_orders)
    yield from _named("events of the history were never published", figures.lost_events)
    yield from _named("orders hold other stock than what was confirmed", figures.stock_mismatches)


def _not_as_promised(figures: Figures) -> Iterator[str]:
    yield from _named("orders had events out of version order", figures.out_of_order)
    if figures.unsent:
        yield f"{figures.unsent} events still wait in the outbox"
    if figures.duplicates_ignored < figures.duplicates_sent:
        yield f"of {figures.duplicates_sent} repeated replies only {figures.duplicates_ignored} were ignored"
    if figures.late_replies < figures.late_sent:
        yield f"of {figures.late_sent} late replies only {figures.late_replies} were noticed"
    if not figures.releases_due == figures.releases == figures.compensations:
        yield (
            f"stock of {figures.releases_due} orders had to be released; the history has {figures.releases} requests,"
            f" the processes counted {figures.compensations}"
        )
    if figures.parked != _POISON_MESSAGES:
        yield f"{figures.parked} messages are parked instead of the one that is poison"


def _not_as_planned(figures: Figures) -> Iterator[str]:
    yield from _named("calls failed", figures.failures)
    yield from _named("orders ended otherwise than what happened to them calls for", figures.wrong_endings)
    if figures.orders + len(figures.failures) < figures.planned:
        yield f"only {figures.orders} of {figures.planned} orders were placed"


def _named(what: str, which: Collection[str]) -> Iterator[str]:
    if which:
        first = ", ".join(list(which)[:_NAMED])
        yield f"{len(which)} {what}: {first}{', ...' if len(which) > _NAMED else ''}"
