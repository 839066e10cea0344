"""A database of a run's own, on the server that DATABASE_URL names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

from order_service.demo.failure import DemoFailed

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
    """The URL of a fresh database, removed at the end; the given URL if its role may not create databases. Raises
    DemoFailed.

    Databases that killed runs left behind are removed: those that are not in use and were made long ago, by their name.
    """
    name = f"{_PREFIX}{run}"
    try:
        _run(given_url, SQL("create database {}").format(Identifier(name)))
        _remove_left_behind(given_url, before=f"{_PREFIX}{run_id(now - _LEFT_AFTER, '')}")
    except errors.InsufficientPrivilege:
        say("DATABASE_URL may not create databases: its own is used, and only this run's orders are counted")
        yield given_url
        return
    except psycopg.Error as error:
        raise DemoFailed(f"DATABASE_URL: {str(error).splitlines()[0]}") from error
    say(f"this run has a database of its own, {name}, which is removed at the end")
    try:
        yield _with_database(given_url, name)
    finally:
        try:
            _run(given_url, SQL("drop database {} with (force)").format(Identifier(name)))
        except psycopg.Error as error:
            say(f"{name} could not be removed: {str(error).splitlines()[0]}")


def _run(url: str, statement: Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _remove_left_behind(url: str, before: str) -> None:
    """What is not ours to remove, or already gone, is left to others."""
    with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute(_LEFT_BEHIND, (_PREFIX, before)).fetchall():
            connection.execute(SQL("drop database if exists {}").format(Identifier(name)))


def _with_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}")) if parts.scheme else make_conninfo(url, dbname=name)
