"""A database of a run's own, on the server that DATABASE_URL names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

_PREFIX: Final = "order_service_demo_"
_LEFT_AFTER: Final = timedelta(hours=1)
_LEFT_BEHIND: Final = """
    select datname from pg_database d
    where starts_with(datname, %s) and datname < %s
        and not exists (select from pg_stat_activity a where a.datname = d.datname)
"""


def run_id(now: datetime, salt: str) -> str:
    """Names a run. Ids sort by the time they were made."""
    return f"{now:%y%m%d%H%M%S}{salt}"


@contextmanager
def database_of_its_own(given_url: str, run: str, now: datetime, say: Callable[[str], None]) -> Iterator[str]:
    """The URL of a fresh database, removed at the end; the given URL if its role may not create databases.

    Databases that killed runs left behind are removed: those that are not in use and were made long ago, by their name.
    """
    name = Identifier(f"{_PREFIX}{run}")
    with psycopg.connect(given_url, autocommit=True) as connection:
        try:
            connection.execute(SQL("create database {}").format(name))
        except errors.InsufficientPrivilege:
            say("DATABASE_URL may not create databases: its own is used, and only this run's orders are counted")
            yield given_url
            return
        say(f"this run has a database of its own, {_PREFIX}{run}, which is removed at the end")
        try:
            _remove_left_behind(connection, run_id(now - _LEFT_AFTER, ""))
            yield _with_database(given_url, f"{_PREFIX}{run}")
        finally:
            connection.execute(SQL("drop database {} with (force)").format(name))


def _remove_left_behind(connection: "psycopg.Connection[tuple[str]]", before: str) -> None:
    for (name,) in connection.execute(_LEFT_BEHIND, (_PREFIX, f"{_PREFIX}{before}")).fetchall():
        connection.execute(SQL("drop database if exists {}").format(Identifier(name)))


def _with_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}")) if parts.scheme else make_conninfo(url, dbname=name)
