"""Ports that are closed, and connections that are ended, without asking who holds them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from order_service.api.connections import close_port, end_connections


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def port_of(one: socket.socket) -> int:
    port: int = one.getsockname()[1]
    return port


def connected(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client, and the server's end of its connection."""
    client = socket.create_connection(("127.0.0.1", port_of(listener)), 5)
    return client, listener.accept()[0]


def test_a_port_that_is_closed_takes_no_connection_and_keeps_those_it_has(listener: socket.socket) -> None:
    port = port_of(listener)
    client, server = connected(listener)

    close_port(port)

    with client, server:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        server.sendall(b"still here")
        assert client.recv(100) == b"still here"


def test_a_port_that_is_closed_can_be_listened_on_at_once(listener: socket.socket) -> None:
    port = port_of(listener)

    close_port(port)

    with socket.create_server(("127.0.0.1", port)) as again:
        client, server = connected(again)
        client.close()
        server.close()


def test_connections_end_after_what_was_written_but_for_those_that_are_spared(listener: socket.socket) -> None:
    port = port_of(listener)
    (spared, its_server), (ended, other_server) = connected(listener), connected(listener)

    with spared, its_server, ended, other_server:
        other_server.sendall(b"the answer")
        left = end_connections(port, spared={port_of(spared)})
        its_server.sendall(b"still here")

        assert left == 1
        assert [ended.recv(100), ended.recv(100)] == [b"the answer", b""]
        assert spared.recv(100) == b"still here"


def test_connections_to_other_ports_are_left_alone(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        client, server = connected(other)
        with client, server:
            left = end_connections(port_of(listener), spared=())
            server.sendall(b"still here")

            assert left == 0
            assert client.recv(100) == b"still here"


def test_looking_for_connections_leaves_no_file_open() -> None:
    reading, writing = os.pipe()
    before = len(list(Path("/dev/fd").iterdir()))

    end_connections(1, spared=())

    after = len(list(Path("/dev/fd").iterdir()))
    os.close(reading)
    os.close(writing)
    assert after == before
