"""Publishes events and tells what the broker made of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError
from pamqp.commands import Basic

from order_service.broker.connection import FAILURES, reraise_if_cancelled, told
from order_service.broker.frames import Outgoing, frames
from order_service.broker.topology import EVENTS_EXCHANGE

PUBLISH_SECONDS: Final = 10.0


class Verdict(StrEnum):
    """What the broker made of a message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """The connection broke or the time was up. It may have been delivered; the channel must not be used again."""


@dataclass(frozen=True, slots=True)
class Published:
    """The verdict on one message, and what the broker said."""

    verdict: Verdict
    told: str = ""


_CONFIRMED: Final = Published(Verdict.CONFIRMED)


async def publish(
    channel: Channel, window: Sequence[Outgoing], exchange: str = EVENTS_EXCHANGE, routing_key: str = ""
) -> list[Published]:
    """Publishes a window of messages at once and awaits their confirms together; one result for each, in order. No two
    messages in flight on a channel may have the same id. With `routing_key` empty each goes under its type."""
    answers = _Answers(len(window))
    lost: BaseException | None = None
    try:
        async with asyncio.timeout(PUBLISH_SECONDS):
            await _send(channel, window, exchange, routing_key, answers)
            await answers.all_of(channel)
    except (*FAILURES, asyncio.CancelledError) as error:
        reraise_if_cancelled()
        lost = error
    finally:
        answers.no_longer_expected()
        for message in window:
            channel.message_id_delivery_tag.pop(str(message.event_id), None)
    return [_judge(answer, lost) for answer in answers.each]


async def _send(
    channel: Channel, window: Sequence[Outgoing], exchange: str, routing_key: str, answers: "_Answers"
) -> None:
    """Does for a window what aiormq's `basic_publish` does for a message: one write, and no task for each."""
    async with channel.lock:
        written = []
        for message, answer in zip(window, answers.each, strict=True):
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = answer
            channel.message_id_delivery_tag[str(message.event_id)] = channel.delivery_tag
            key = routing_key or message.type
            written.append(frames(message, channel.number, exchange, key, channel.max_content_size))
        await channel.write_queue.put(ChannelFrame(payload=b"".join(written), should_close=False))


class _Answers:
    """A future for the broker's answer to each message of a window, which aiormq fills."""

    def __init__(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self.each: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(count)]
        self._missing = count
        self._all: asyncio.Future[None] | None = None
        for answer in self.each:
            answer.add_done_callback(self._came)

    async def all_of(self, channel: Channel) -> None:
        """Returns when each has come; raises what closes the channel."""
        self._all = channel.create_future()
        if self._missing:
            await self._all
        else:
            self._all.cancel()

    def no_longer_expected(self) -> None:
        """An answer that comes now is for nobody."""
        for answer in self.each:
            answer.cancel()

    def _came(self, _: asyncio.Future[Any]) -> None:
        self._missing -= 1
        if not self._missing and self._all and not self._all.done():
            self._all.set_result(None)


def _judge(answer: asyncio.Future[Any], lost: BaseException | None) -> Published:
    if answer.cancelled():
        return Published(Verdict.UNKNOWN, told(lost))
    match answer.exception() or answer.result():
        case Basic.Ack():
            return _CONFIRMED
        case DeliveredMessage():
            return Published(Verdict.RETURNED, "returned: no queue is bound")
        case DeliveryError():
            return Published(Verdict.REFUSED, "refused by the broker (nack)")
        case BaseException() as error:
            return Published(Verdict.UNKNOWN, told(error))
        case other:
            return Published(Verdict.UNKNOWN, f"unexpected answer {type(other).__name__}")
