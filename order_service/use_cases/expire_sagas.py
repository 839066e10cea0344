"""Cancels the orders whose saga has waited until its deadline."""

from collections.abc import Collection
from uuid import UUID

from order_service.saga.engine import DeadlinePassed
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.advance_sagas import Advance, SagaRules, advance, begin, record


async def expire_sagas(unit_of_work: UnitOfWork, order_ids: Collection[UUID], rules: SagaRules) -> list[Advance]:
    """Lets the deadline act on each order's saga, if it has really passed by PostgreSQL's clock. Those that this
    version cannot read are left out."""
    locked = await unit_of_work.orders.lock_readable(order_ids)
    advances = [advance(begin(order), DeadlinePassed(), "", rules)[0] for order in locked.values()]
    await record(unit_of_work, advances, rules)
    return advances
