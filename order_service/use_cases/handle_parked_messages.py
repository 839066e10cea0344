"""What an operator can do with parked messages: look, redrive, discard."""

from order_service.domain.errors import OrderServiceError
from order_service.storage.parked_messages import ParkedMessage
from order_service.storage.unit_of_work import UnitOfWork


class ParkedMessageNotFound(OrderServiceError):
    """There is no such parked message: it was redriven or discarded before, or never was."""


async def show_parked(unit_of_work: UnitOfWork, parked_id: int) -> ParkedMessage:
    """One parked message, with its body. Raises ParkedMessageNotFound."""
    found = await unit_of_work.parked.get(parked_id)
    if found is None:
        raise ParkedMessageNotFound(f"there is no parked message {parked_id}")
    return found


async def redrive_parked(unit_of_work: UnitOfWork, parked_id: int) -> ParkedMessage:
    """Lets a worker try it again at once: a received message is handled, an event is published.

    Raises ParkedMessageNotFound.
    """
    parked = await show_parked(unit_of_work, parked_id)
    if parked.direction == "IN":
        await unit_of_work.parked.redrive(parked_id)
        return parked
    if parked.order_id is not None and parked.version is not None:
        await unit_of_work.outbox.unpark(parked.order_id, parked.version)
    await unit_of_work.parked.delete([parked_id])
    return parked


async def discard_parked(unit_of_work: UnitOfWork, parked_id: int) -> ParkedMessage:
    """Forgets it. An event stays in the history, and its order's later events are sent.

    Raises ParkedMessageNotFound.
    """
    parked = await show_parked(unit_of_work, parked_id)
    if parked.order_id is not None and parked.version is not None:
        await unit_of_work.outbox.discard(parked.order_id, parked.version)
    await unit_of_work.parked.delete([parked_id])
    return parked
