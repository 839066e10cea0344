"""Sends the calls of a plan: when they are due, or as soon as there is room for them."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Final

import grpc

from order_service.pb import order_pb2_grpc
from order_service.stress.measuring import Answer, Measured
from order_service.stress.orders import Orders
from order_service.stress.plan import Plan, Rpc

_TIMER_SECONDS: Final = 0.0005
"""uvloop's timers count whole milliseconds and may fire half of one early."""
_PAUSE_SECONDS: Final = 0.1
_LAST_ANSWERS_SECONDS: Final = 2.0
_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Load:
    """One run over `stubs`, a connection each, which take turns."""

    def __init__(
        self,
        plan: Plan,
        stubs: "Sequence[order_pb2_grpc.OrderServiceAsyncStub]",
        measured: Measured,
        stopping: asyncio.Event,
    ) -> None:
        self._plan = plan
        self._orders = Orders(plan)
        self._stubs = itertools.cycle(stubs)
        self._measured = measured
        self._stopping = stopping
        self._room = asyncio.Semaphore(plan.concurrency)
        self._flying: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None

    async def run(self) -> None:
        """Until every call is answered; or, once `stopping` is set, until those in flight are, but not for long."""
        self._began = time.monotonic()
        sending = asyncio.create_task(self._send_all())
        asked = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((sending, asked), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
                await self._until_answered(asked)
        finally:
            asked.cancel()
            sending.cancel()
            await self._let_go()
        if self._fault is not None:
            raise self._fault

    async def _send_all(self) -> None:
        for rpc in self._plan.rpcs():
            due = self._plan.due(rpc)
            await self._until(due)
            await self._room.acquire()
            task = asyncio.create_task(self._send(rpc, due))
            self._flying.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._flying.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A fault of this program: nothing that the service answers is one.
            self._fault = task.exception()
            self._stopping.set()

    async def _until(self, due: float | None) -> None:
        if due is not None and (early := due - self._now()) > 0:
            await asyncio.sleep(early + _TIMER_SECONDS)

    async def _send(self, rpc: Rpc, due: float | None) -> None:
        sent_at = self._now()
        counts_from = sent_at if due is None else due
        self._measured.on_sent(rpc, sent_at - counts_from)
        try:
            answer, away = await self._call(rpc)
            at = self._now()
            self._measured.on_answer(answer, at, at - counts_from)
            if away and due is None:
                # Else a closed loop would be over in an instant, with nothing but errors.
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._room.release()

    async def _call(self, rpc: Rpc) -> tuple[Answer, bool]:
        """The answer, and whether there was none because the service is away."""
        try:
            return (await self._create(rpc) if self._plan.batch == 1 else await self._create_batch(rpc)), False
        except grpc.aio.AioRpcError as error:
            failure = (error.code().name, error.details() or "")
            return Answer({}, [failure] * rpc.count), error.code() in _AWAY

    async def _create(self, rpc: Rpc) -> Answer:
        request = self._orders.single(rpc.first)
        answer = await next(self._stubs).CreateOrder(request, timeout=self._plan.timeout)
        return Answer({rpc.first: answer.order}, ())

    async def _create_batch(self, rpc: Rpc) -> Answer:
        request = self._orders.batch(rpc)
        answer = await next(self._stubs).BatchCreateOrders(request, timeout=self._plan.timeout)
        results = list(zip(rpc.numbers, answer.results, strict=True))
        return Answer(
            {number: result.order for number, result in results if result.HasField("order")},
            [
                (_NAMES.get(result.error.code, "UNKNOWN"), result.error.message)
                for _, result in results
                if not result.HasField("order")
            ],
        )

    async def _until_answered(self, asked: "asyncio.Task[bool]") -> None:
        if self._flying:
            answered = asyncio.create_task(asyncio.wait(self._flying))
            await asyncio.wait((answered, asked), return_when=asyncio.FIRST_COMPLETED)
            answered.cancel()

    async def _let_go(self) -> None:
        """Waits a moment for what is in flight, which is nothing after a whole run, and gives up the rest."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=_LAST_ANSWERS_SECONDS)
        for task in tuple(self._flying):
            task.cancel()
        if self._flying:
            await asyncio.wait(self._flying)

    def _now(self) -> float:
        return time.monotonic() - self._began
