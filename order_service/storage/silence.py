"""Ends the wait for a server that neither answers nor hangs up: one that is stopped, or whose disk hangs."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg


@contextmanager
def cut_off_after(seconds: float, connection: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """Shuts the connection down unless the block ends in time; what waits for it then raises OperationalError.

    TCP notices only a machine that is gone. Cancelling would not do: psycopg waits for the server to confirm it.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _shut_down, connection)
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connection: psycopg.AsyncConnection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
