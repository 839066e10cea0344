"""Ends the wait for a server that neither answers nor hangs up: one that is stopped, or whose disk hangs."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg


class ServerSilent(psycopg.OperationalError):
    """The server kept silent for too long, and the connection was shut down."""


@contextmanager
def cut_off_after(seconds: float, connection: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """Shuts the connection down unless the block ends in time; what fails for that reason raises ServerSilent.

    TCP notices only a machine that is gone. Cancelling would not do: psycopg waits for the server to confirm it.
    """
    timed_out = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, _shut_down, connection, timed_out)
    try:
        yield
    except psycopg.Error as error:
        if timed_out.is_set():
            raise ServerSilent(f"PostgreSQL kept silent for {seconds:.0f} s") from error
        raise
    finally:
        timer.cancel()


def _shut_down(connection: psycopg.AsyncConnection[Any], timed_out: asyncio.Event) -> None:
    timed_out.set()
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
