"""`/metrics`, `/healthz` (alive) and `/readyz` (can serve), on threads of their own.

A few requests at a time, each with a limit on how long its client may stall: a slow scraper takes one thread of a few,
and never the event loop. A request that finds no thread within a second is turned away.
"""

import errno
import socket
import socketserver
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import BoundedSemaphore, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec
import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from order_service.domain.errors import OrderServiceError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_AT_ONCE: Final = 8
_CLIENT_SECONDS: Final = 5.0
_QUEUE_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 2.0

_log = structlog.get_logger()


class CannotListen(OrderServiceError):
    """The metrics server cannot listen on METRICS_HOST and METRICS_PORT; the text says why."""


class PortTaken(CannotListen):
    """Another process listens on METRICS_PORT."""


def serve(
    host: str, port: int, registry: CollectorRegistry, alive: Callable[[], str], ready: Callable[[], Mapping[str, str]]
) -> "Probes":
    """Serves until it is closed. `alive` returns empty or what is wrong, `ready` the needs that are not met; both are
    called from other threads. Raises PortTaken, CannotListen."""
    try:
        return Probes(host.strip("[]"), port, _application(registry, alive, ready))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"METRICS_PORT: another process listens on {host}:{port}; choose another port") from error
        raise CannotListen(f"METRICS_HOST, METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}") from error


class Probes:
    """The running server. `port` is the one it listens on, also where 0 was asked for."""

    def __init__(self, host: str, port: int, application: "WSGIApplication") -> None:
        self._server = _Server(host, port)
        self._server.set_app(application)
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening, within two seconds. What is being answered is cut off when the process ends."""
        with suppress(OSError):
            # Wakes the thread at once, where otherwise it would look up from its wait only now and then.
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _application(
    registry: CollectorRegistry, alive: Callable[[], str], ready: Callable[[], Mapping[str, str]]
) -> "WSGIApplication":
    metrics: WSGIApplication = make_wsgi_app(registry)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/healthz":
                wrong = alive()
                return _answer(start_response, not wrong, wrong or "ok")
            case "/readyz":
                unmet = ready()
                return _answer(start_response, not unmet, msgspec.json.encode(unmet).decode() if unmet else "ok")
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"/metrics, /healthz and /readyz are here\n"]

    return application


def _answer(start_response: "StartResponse", well: bool, text: str) -> list[bytes]:
    kind = "application/json" if text.startswith("{") else "text/plain; charset=utf-8"
    start_response(
        "200 OK" if well else "503 Service Unavailable", [("Content-Type", kind), ("Cache-Control", "no-store")]
    )
    return [f"{text}\n".encode()]


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, *_: object) -> None:
        """A probe every few seconds is no news."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """As the base does, without its look-up of the host's full name, which may wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(timeout=_QUEUE_SECONDS):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            _log.warning("probes.request_failed", exc_info=True)
