"""What happens around every RPC: metrics, one log line, and errors as callers may see them."""

import asyncio
import inspect
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc.aio import AbortError
from prometheus_client import Counter, Histogram

from order_service.api.errors import DETAILS_KEY, INTERNAL, code_of, status_of
from order_service.domain.errors import FieldViolation, InvalidRequest, ServiceUnavailable
from order_service.telemetry.metrics import Metrics

log: Final = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class UnderWay:
    """The calls that were begun and whose answers are not written yet: how many there are from each port of a client.
    Clients of two machines may have the same port."""

    calls: Tally[int] = field(default_factory=Tally)
    refusing: bool = False

    def begin(self, context: Context) -> None:
        """Notes a call until its answer is written. Raises ServiceUnavailable if no more calls are begun."""
        if self.refusing:
            raise ServiceUnavailable("the server is shutting down")
        port = _port(context.peer())
        self.calls[port] += 1
        # The stubs ask for an instance of a class of theirs.
        context.add_done_callback(lambda _: self._end(port))  # type: ignore[arg-type]

    def _end(self, port: int) -> None:
        self.calls[port] -= 1
        if not self.calls[port]:
            del self.calls[port]


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method and its metrics."""

    name: str
    started: Counter
    handled: Callable[[str], Counter]
    """By the name of the code."""
    seconds: Histogram
    under_way: UnderWay
    log: Any
    """structlog's logger, found once: the one of the module looks for itself at every line."""


class ObservedRpcs:
    """Wraps the handlers of all methods."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._under_way = UnderWay()

    def refuse_calls(self) -> None:
        """Begins no more calls of the service itself: they are answered UNAVAILABLE. Its health can still be asked."""
        self._under_way.refusing = True

    def clients_waiting(self) -> Set[int]:
        """The ports of the clients that wait for an answer of the service itself: who watches its health waits for
        none."""
        return frozenset(self._under_way.calls)

    def observed(self, name: str, handler: Any) -> Any:
        """The handler of a method, observed; `name` is the full one, "/order.OrderService/CreateOrder"."""
        method = self._method(name, handler)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _observed(handler.unary_unary, method),
                request_deserializer=_readable_or_error(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream:
            # Health's Watch is a coroutine that writes to its context.
            observed = _observed_stream if inspect.isasyncgenfunction(handler.unary_stream) else _observed
            return grpc.unary_stream_rpc_method_handler(
                observed(handler.unary_stream, method),
                request_deserializer=_readable_or_error(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _observed_stream(_of_readable(handler.stream_stream), method),
                request_deserializer=_readable_or_error(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        return handler

    def _method(self, name: str, handler: Any) -> Method:
        kind = "bidi_stream" if handler.stream_stream else "server_stream" if handler.response_streaming else "unary"
        _, service, method = name.split("/", 2)
        labels = (kind, service, method)
        return Method(
            name=name,
            started=self._metrics.rpc_started.labels(*labels),
            handled=cache(lambda code: self._metrics.rpc_handled.labels(*labels, code)),
            seconds=self._metrics.rpc_seconds.labels(*labels),
            under_way=UnderWay() if service.startswith("grpc.") else self._under_way,
            log=log.bind(),
        )


def _observed(
    behaviour: Callable[[Any, Context], Awaitable[Any]], method: Method
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        started = _started(method)
        code = grpc.StatusCode.OK
        try:
            method.under_way.begin(context)
            return await behaviour(_raised_if_error(request), context)
        except (Exception, asyncio.CancelledError) as error:
            code = _code(error, context)
            await _answer(error, context, method)
        finally:
            _finished(method, code, started)

    return call


def _observed_stream(
    behaviour: Callable[[Any, Context], AsyncIterator[Any]], method: Method
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        started = _started(method)
        code = grpc.StatusCode.OK
        try:
            method.under_way.begin(context)
            async for response in behaviour(_raised_if_error(request), context):
                yield response
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            code = _code(error, context)
            await _answer(error, context, method)
        finally:
            _finished(method, code, started)

    return call


def _readable_or_error(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Raised by a deserializer, an error would reach the caller as gRPC words it: it is given on instead."""

    def readable_or_error(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return InvalidRequest([FieldViolation("", "the bytes are no message of this method")])

    return readable_or_error


def _of_readable(
    behaviour: Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]],
) -> Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]:
    async def readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            yield _raised_if_error(request)

    return lambda requests, context: behaviour(readable(requests), context)


def _raised_if_error(request: Any) -> Any:
    if isinstance(request, InvalidRequest):
        raise request
    return request


def _code(error: BaseException, context: Context) -> grpc.StatusCode:
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            return grpc.StatusCode.CANCELLED
        case AbortError():
            return context.code()
        case _:
            return code_of(error).code


async def _answer(error: BaseException, context: Context, method: Method) -> None:
    """Raises what gRPC needs in order to answer with the error's code, text and details."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit | AbortError):
        raise error
    if code_of(error) is INTERNAL:
        log.error("rpc.failed", method=method.name, exc_info=error)
    status = status_of(error)
    await context.abort(
        code_of(error).code, status.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),)
    )


def _started(method: Method) -> float:
    method.started.inc()
    return time.perf_counter()


def _finished(method: Method, code: grpc.StatusCode, started: float) -> None:
    seconds = time.perf_counter() - started
    method.handled(code.name).inc()
    method.seconds.observe(seconds)
    # Callers first: their answers go out in this turn of the event loop. Lines made one after the other, in the next,
    # take half of what each takes between two answers, where the caches are full of other things.
    asyncio.get_running_loop().call_soon(_tell, method, code.name, seconds)


def _tell(method: Method, code: str, seconds: float) -> None:
    method.log.info("rpc.handled", method=method.name, code=code, seconds=round(seconds, 6))


@lru_cache(maxsize=1_024)
def _port(peer: str) -> int:
    """The port in an address as gRPC gives it, such as "ipv4:127.0.0.1:50000"."""
    port = peer.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0
