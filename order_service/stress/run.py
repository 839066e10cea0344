"""One run from start to end: connect, send, ask for the outcomes, report."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from order_service.domain.errors import OrderServiceError, ServiceUnavailable
from order_service.pb import order_pb2, order_pb2_grpc
from order_service.stress.display import Shown
from order_service.stress.load import Load
from order_service.stress.measuring import Measured
from order_service.stress.outcomes import Outcomes, ask
from order_service.stress.plan import Plan
from order_service.stress.report import Report

_CONNECT_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 1.0
_LAST_LOOK_SECONDS: Final = 2.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OPTIONS: Final = (
    # A connection each, though the channels are alike.
    ("grpc.use_local_subchannel_pool", 1),
    # Several addresses behind one name share the load.
    ("grpc.lb_policy_name", "round_robin"),
    # A server that comes back is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # So long an attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_receive_message_length", -1),
)


class NoOrderService(OrderServiceError):
    """What answers at the target is something else."""


@dataclass(slots=True)
class _Stopping:
    """The first signal asks for the report, the second for the end."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    by: str = ""

    def listen(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - it is called from a coroutine
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number, task)

    def _on_signal(self, number: signal.Signals, task: "asyncio.Task[Any]") -> None:
        if self.by:
            task.cancel()
        self.by = self.by or number.name
        self.asked.set()


async def run(plan: Plan, shown: Shown) -> Report:
    """Ends by itself, or early by SIGINT, SIGTERM or SIGHUP, with what there is by then; a second signal cancels it.
    Raises ServiceUnavailable, NoOrderService."""
    stopping = _Stopping()
    stopping.listen()
    measured = Measured(plan)
    async with AsyncExitStack() as stack:
        stubs = []
        for _ in range(plan.connections):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(plan.target, options=_OPTIONS))
            stubs.append(order_pb2_grpc.OrderServiceStub(channel))
        await _check(stubs, plan)
        began, spent = time.monotonic(), time.process_time()
        load = Load(plan, stubs, measured, stopping.asked)
        await _telling(load.run(), lambda: shown.sending(measured))
        cpu_share = (time.process_time() - spent) / (time.monotonic() - began)
        outcomes = None if plan.wait is None else await _outcomes(stubs[0], measured, plan.wait, shown, stopping)
    return Report(measured, outcomes, stopping.by, cpu_share)


async def _check(stubs: "Sequence[order_pb2_grpc.OrderServiceAsyncStub]", plan: Plan) -> None:
    """Opens each connection by asking for the orders of a user who has none."""
    request = order_pb2.ListOrdersRequest(user_id=plan.user_of(0), page_size=1)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.gather(*(stub.ListOrders(request) for stub in stubs))
    except TimeoutError:
        raise ServiceUnavailable(f"no answer from {plan.target} within {_CONNECT_SECONDS:.0f} s") from None
    except grpc.aio.AioRpcError as error:
        kind = NoOrderService if error.code() is grpc.StatusCode.UNIMPLEMENTED else ServiceUnavailable
        raise kind(f"{error.code().name} from {plan.target}: {error.details()}") from error


async def _outcomes(
    stub: "order_pb2_grpc.OrderServiceAsyncStub", measured: Measured, wait: float, shown: Shown, stopping: _Stopping
) -> Outcomes:
    outcomes = Outcomes()
    interrupted = stopping.asked.is_set()
    asking = asyncio.create_task(
        _telling(ask(stub, measured, 0.0 if interrupted else wait, outcomes), lambda: shown.waiting(measured, outcomes))
    )
    asked = asyncio.create_task(asyncio.Event().wait() if interrupted else stopping.asked.wait())
    try:
        await asyncio.wait(
            (asking, asked),
            timeout=_LAST_LOOK_SECONDS if interrupted else None,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if asking.done():
            asking.result()
    finally:
        asking.cancel()
        asked.cancel()
        await asyncio.wait((asking, asked))
    return outcomes


async def _telling(work: Coroutine[Any, Any, None], tell: Callable[[], None]) -> None:
    """Does the work, and tells every second how it stands, and at its end."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_TELL_SECONDS)
            tell()
        await task
    finally:
        task.cancel()
        await asyncio.wait((task,))
