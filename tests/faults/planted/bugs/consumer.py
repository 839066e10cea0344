"""What goes wrong on the way from the broker to the saga."""

from tests.faults.planted import scenarios as play
from tests.faults.planted.planting import Edit, Planted

RECEIVE = "inbox/receive.py"
PIPELINE = "inbox/pipeline.py"
CONSUMER = "broker/consumer.py"
APPLY = "use_cases/apply_replies.py"
ENGINE = "saga/engine.py"

OF_THE_CONSUMER = (
    Planted(
        "A reply is acknowledged before it has its effect",
        play.killed_before_the_commit,
        (
            Edit(
                PIPELINE,
                "                    self._begin(coming.result())\n",
                "                    await self._consumer.acknowledge(coming.result())\n"
                "                    self._begin(coming.result())\n",
            ),
            Edit(PIPELINE, "        await self._consumer.acknowledge(oldest.messages)\n", ""),
        ),
    ),
    Planted(
        "A reply is acknowledged although the database failed",
        play.the_database_is_slow,
        (Edit(RECEIVE, "                await backoff.wait(ending)\n", "                return True\n"),),
    ),
    Planted(
        "Acknowledging a batch acknowledges all that was delivered",
        play.killed_between_two_batches,
        (
            Edit(
                CONSUMER,
                "basic_ack(max(message.delivery_tag for message in batch), multiple=True, wait=False)",
                "basic_ack(0, multiple=True, wait=False)",
            ),
        ),
    ),
    Planted(
        "The inbox is not looked at, and a step that is held is taken again",
        play.every_path,
        (
            Edit(APPLY, "    if reply.message_key not in unseen:\n        return ReplyOutcome.DUPLICATE\n", ""),
            Edit(
                APPLY,
                "{reply.order_id for reply in replies if reply.message_key in unseen}",
                "{reply.order_id for reply in replies}",
            ),
            Edit(
                ENGINE, "        case StepState.ASKED, True:", "        case (StepState.ASKED | StepState.HELD), True:"
            ),
        ),
    ),
    Planted(
        "A reply of an unknown order is dropped",
        play.poison,
        (Edit(RECEIVE, "parked.insert([*unknown, *unreadable])", "parked.insert([*unreadable])"),),
    ),
    Planted(
        "Poison is dropped",
        play.poison,
        (Edit(RECEIVE, "parked.insert([*unknown, *unreadable])", "parked.insert([*unknown])"),),
    ),
    Planted(
        "A reply of an unknown order is noted as handled",
        play.poison,
        (Edit(APPLY, "        await unit_of_work.inbox.delete(consumer, unknown)", "        pass"),),
    ),
)
