"""The probes and the metrics, asked over real sockets."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter

from order_service.telemetry import http as probes
from order_service.telemetry.metrics import Metrics


def fine() -> str:
    return ""


def met() -> Mapping[str, str]:
    return {}


@contextmanager
def served(
    alive: Callable[[], str] = fine,
    ready: Callable[[], Mapping[str, str]] = met,
    registry: CollectorRegistry | None = None,
    host: str = "127.0.0.1",
) -> Iterator[probes.Probes]:
    with probes.serve(host, 0, registry or CollectorRegistry(), alive, ready) as server:
        yield server


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.getheader("Content-Type", ""), response.read().decode()
    connection.close()
    return answer


def test_a_process_that_is_well_says_so() -> None:
    with served() as server:
        answers = [ask(server.port, path) for path in ("/healthz", "/readyz")]

    assert [(status, text) for status, _, text in answers] == [(200, "ok\n")] * 2


def test_a_process_that_is_not_alive_says_what_is_wrong() -> None:
    with served(alive=lambda: "the relay has not made a round for 30 s") as server:
        status, _, text = ask(server.port, "/healthz")

    assert (status, text) == (503, "the relay has not made a round for 30 s\n")


def test_a_process_that_is_not_ready_names_its_unmet_needs() -> None:
    with served(ready=lambda: {"database": "cannot be reached"}) as server:
        status, kind, text = ask(server.port, "/readyz")

    assert (status, kind) == (503, "application/json")
    assert json.loads(text) == {"database": "cannot be reached"}


def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("apples", "Apples.", registry=registry).inc(3)

    with served(registry=registry) as server:
        status, kind, text = ask(server.port, "/metrics")

    assert status == 200
    assert kind.startswith("text/plain")
    assert "apples_total 3.0" in text


def test_the_whole_catalogue_can_be_scraped() -> None:
    with served(registry=Metrics().registry) as server:
        _, _, text = ask(server.port, "/metrics")

    assert "order_service_outbox_backlog_messages 0.0" in text


def test_another_path_is_not_found() -> None:
    with served() as server:
        status, _, _ = ask(server.port, "/")

    assert status == 404


def test_a_taken_port_is_told_in_one_line_that_names_the_variable() -> None:
    with served() as server, pytest.raises(probes.PortTaken) as caught:
        probes.serve("127.0.0.1", server.port, CollectorRegistry(), fine, met)

    assert str(caught.value) == (
        f"METRICS_PORT: another process listens on 127.0.0.1:{server.port}; choose another port"
    )


def test_a_host_that_is_not_here_is_told_in_one_line() -> None:
    with pytest.raises(
        probes.CannotListen, match=r"^METRICS_HOST, METRICS_PORT: cannot listen on 192.0.2.1:0: [^\n]+$"
    ):
        probes.serve("192.0.2.1", 0, CollectorRegistry(), fine, met)


def test_a_closed_server_leaves_its_port_to_others() -> None:
    with served() as first:
        port = first.port

    with probes.serve("127.0.0.1", port, CollectorRegistry(), fine, met) as second:
        assert ask(second.port, "/healthz")[0] == 200


def test_closing_twice_is_closing_once() -> None:
    with served() as server:
        server.close()


def test_a_client_that_says_nothing_does_not_keep_others_waiting() -> None:
    with served() as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(7)]
        status, _, _ = ask(server.port, "/healthz")
        for client in silent:
            client.close()

    assert status == 200


def test_a_probe_that_fails_is_an_error_and_the_next_one_is_answered(capfd: pytest.CaptureFixture[str]) -> None:
    answers = iter(["", "", "gone"])

    with served(alive=lambda: next(answers)) as server:
        statuses = [ask(server.port, "/healthz")[0] for _ in range(4)]

    assert statuses == [200, 200, 503, 500]
    assert "StopIteration" in capfd.readouterr().err


def test_ipv6_is_served_in_brackets() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")

    with served(host="[::1]") as server:
        status, _, _ = ask(server.port, "/healthz", "::1")

    assert status == 200
