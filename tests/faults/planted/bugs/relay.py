"""What goes wrong on the way from the outbox to the broker."""

from tests.faults.planted import scenarios as play
from tests.faults.planted.planting import Edit, Planted

RELAY = "outbox/relay.py"
PUBLISHER = "broker/publisher.py"
FRAMES = "broker/frames.py"
LEASES = "outbox/leases.py"
OUTBOX_SQL = "storage/sql/outbox.sql"
LEASES_SQL = "storage/sql/relay_leases.sql"

_FORGETS_NOTHING = Edit(
    LEASES,
    "            asked_at, self._epochs = await self._renewed(between_windows)\n",
    "            asked_at, epochs = await self._renewed(between_windows)\n"
    "            self._epochs = dict(self._epochs) | dict(epochs)\n",
)
_UNFENCED = Edit(
    OUTBOX_SQL,
    "        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch\n"
    "    returning o.order_id, o.version\n)",
    "        and l.bucket = r.bucket and %(owner)s::uuid is not null\n    returning o.order_id, o.version\n)",
)

OF_THE_RELAY = (
    Planted(
        "An event is marked as sent before it is published",
        play.killed_while_publishing,
        (
            Edit(
                RELAY,
                "        with sending(window) as traceparents:",
                '        await self._mark_for_sure(Sorted(list(window), [], [], ""), fence)\n'
                "        with sending(window) as traceparents:",
            ),
        ),
    ),
    Planted(
        "An event whose fate is not known is marked as sent",
        play.cut_while_publishing,
        (
            Edit(
                RELAY,
                "            if result.verdict is Verdict.UNKNOWN:\n                continue",
                "            if result.verdict is Verdict.UNKNOWN:\n                outcome.sent.append(due)\n"
                "                continue",
            ),
        ),
    ),
    Planted(
        "A relay gives up when its connection is lost",
        play.cut_while_publishing,
        (
            Edit(
                RELAY,
                '                log.warning("relay.unavailable", error=str(error))\n',
                '                log.warning("relay.unavailable", error=str(error))\n'
                "                await stopping.wait()\n",
            ),
        ),
    ),
    Planted(
        "An event gets a new id each time it is published",
        play.killed_before_the_mark,
        (Edit(RELAY, "        event_id=event.event_id,", '        event_id=__import__("uuid").uuid4(),'),),
    ),
    Planted(
        "The body of an event says when it was published",
        play.killed_before_the_mark,
        (
            Edit(
                RELAY,
                "        body=event.payload.encode(),",
                "        body=(event.payload[:-1] + f',\"sent_at\":{time.time()}}}').encode(),",
            ),
        ),
    ),
    Planted(
        "A request that nobody takes is marked as sent",
        play.nobody_listens,
        (
            Edit(
                RELAY,
                "    return result.verdict is Verdict.RETURNED and due.event.type not in REQUESTS",
                "    return result.verdict is Verdict.RETURNED",
            ),
        ),
    ),
    Planted(
        "What the broker gives back is taken for confirmed",
        play.nobody_listens,
        (
            Edit(
                PUBLISHER,
                "            return Published(Verdict.RETURNED,",
                "            return Published(Verdict.CONFIRMED,",
            ),
        ),
    ),
    Planted(
        "Events are published without the mandatory flag",
        play.nobody_listens,
        (Edit(FRAMES, "            mandatory=True,", "            mandatory=False,"),),
    ),
    Planted(
        "A request that nobody takes is parked at once",
        play.nobody_listens,
        (Edit(RELAY, ">= self._rules.park_after:", "< self._rules.park_after:"),),
    ),
    Planted(
        "An event that is held back does not hold back the later ones of its order",
        play.nobody_listens,
        (
            Edit(
                OUTBOX_SQL,
                "\n            and not exists (\n                select from order_service.outbox e"
                " where e.order_id = o.order_id and e.version < o.version)",
                "",
            ),
        ),
    ),
    Planted(
        "What the broker refuses is taken for confirmed",
        play.the_broker_refuses,
        (
            Edit(
                PUBLISHER,
                "            return Published(Verdict.REFUSED,",
                "            return Published(Verdict.CONFIRMED,",
            ),
        ),
    ),
    Planted(
        "Marking an event removes all of its order",
        play.crowd,
        (
            Edit(
                OUTBOX_SQL,
                "    where o.order_id = r.order_id and o.version = r.version\n"
                "        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch\n"
                "    returning o.order_id, o.version\n)",
                "    where o.order_id = r.order_id\n"
                "        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch\n"
                "    returning o.order_id, o.version\n)",
            ),
        ),
    ),
    Planted(
        "Marking an event removes the whole bucket",
        play.crowd,
        (
            Edit(
                OUTBOX_SQL,
                "    where o.order_id = r.order_id and o.version = r.version\n"
                "        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch\n"
                "    returning o.order_id, o.version\n)",
                "    where o.bucket = r.bucket\n"
                "        and l.bucket = r.bucket and l.owner = %(owner)s and l.epoch = r.epoch\n"
                "    returning o.order_id, o.version\n)",
            ),
        ),
    ),
    Planted(
        "A relay sends what other relays hold",
        play.a_stopped_relay_wakes,
        (
            Edit(
                LEASES_SQL,
                "where l.owner = %(owner)s and l.expires_at >= now()\norder by l.bucket",
                "where %(owner)s::uuid is not null and l.expires_at >= now()\norder by l.bucket",
            ),
            Edit(
                LEASES_SQL,
                "join order_service.relay_leases l on l.owner = a.owner",
                "join order_service.relay_leases l on a.owner is not null",
            ),
        ),
    ),
    Planted("A relay goes on with leases that it has lost", play.a_stopped_relay_wakes, (_FORGETS_NOTHING,)),
    Planted(
        "A relay goes on with leases that it has lost, and no fence holds its marks",
        play.a_stopped_relay_wakes,
        (_FORGETS_NOTHING, _UNFENCED),
    ),
    Planted(
        "A relay never looks back for what was committed late",
        play.an_order_commits_late,
        (
            Edit("outbox/scan.py", "_RESCAN_SECONDS: Final = 1.0", "_RESCAN_SECONDS: Final = 3600.0"),
            Edit("outbox/scan.py", "_OVERLAP: Final = timedelta(seconds=1)", "_OVERLAP: Final = timedelta(0)"),
        ),
    ),
)
