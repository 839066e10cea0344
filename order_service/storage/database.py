"""The pool of connections, and the unit of work that runs in one transaction."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from order_service.domain.errors import StorageRefused, StorageUnavailable
from order_service.storage.freshness import Freshness
from order_service.storage.silence import ServerSilent, cut_off_after
from order_service.storage.unit_of_work import Connection, UnitOfWork

T = TypeVar("T")

MAX_ATTEMPTS: Final = 4
_ANSWER_HOLDS_SECONDS: Final = 1.0
_CONFLICTS: Final = (errors.SerializationFailure, errors.DeadlockDetected)
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
    TimeoutError,
)


class Database:
    """Connections to PostgreSQL. Open it before use, close it after; see the package for what it guarantees."""

    def __init__(self, url: str, pool_size: int, timeout: timedelta, application: str) -> None:
        self._timeout = timeout.total_seconds()
        self._freshness = Freshness()
        self._answered_at = float("-inf")
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            _conninfo(url, self._timeout, application),
            min_size=min(2, pool_size),
            max_size=pool_size,
            timeout=self._timeout,
            max_waiting=pool_size * 100,
            reconnect_timeout=10,
            # No batch fails because PostgreSQL was restarted before it.
            check=self._check,
            kwargs={"autocommit": True},
            open=False,
        )

    async def open(self) -> None:
        """Starts connecting in the background; does not wait and does not fail."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Closes every connection, waiting for those in use for the time limit of a statement."""
        await self._pool.close(timeout=self._timeout)

    async def run(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """What `work` returns, after its transaction has committed. May call it again: it must be repeatable. Not after
        a server that kept silent: the caller has waited for long enough.
        Raises StorageUnavailable, StorageRefused, and whatever `work` raises, and then nothing is committed."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self._transaction() as unit_of_work:
                    return await work(unit_of_work)
            except _CONFLICTS as error:
                if attempt == MAX_ATTEMPTS:
                    raise StorageUnavailable("transactions kept colliding") from error
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
            except _UNAVAILABLE as error:
                if attempt == MAX_ATTEMPTS or not _broken(error):
                    raise StorageUnavailable(_told(error)) from error
            except psycopg.Error as error:
                raise StorageRefused(_told(error)) from error
        raise AssertionError("unreachable")

    async def ping(self) -> None:
        """Raises StorageUnavailable unless PostgreSQL answers, or has answered within the last second."""
        if time.monotonic() - self._answered_at < _ANSWER_HOLDS_SECONDS:
            return
        try:
            async with self._connection(self._timeout) as connection:
                await connection.execute("select 1")
        except _UNAVAILABLE as error:
            raise StorageUnavailable(_told(error)) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        """For queries, each seeing what is committed when it starts, and for single statements that write.
        Raises as `run` does."""
        try:
            async with self._connection() as connection:
                yield UnitOfWork(connection)
        except _UNAVAILABLE as error:
            raise StorageUnavailable(_told(error)) from error
        except psycopg.Error as error:
            raise StorageRefused(_told(error)) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[UnitOfWork]:
        """For queries only, all seeing the same moment. Raises as `run` does."""
        async with self.read() as unit_of_work, unit_of_work.one_snapshot():
            yield unit_of_work

    def pool_figures(self) -> Mapping[str, int]:
        """`pool_size`, `pool_available` and `requests_waiting`, now (psycopg_pool's names)."""
        return self._pool.get_stats()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[UnitOfWork]:
        """BEGIN travels with the first statements and COMMIT with the last; what is not committed the pool rolls back.

        psycopg's `transaction()` waits for the answer to each. And if it is cancelled while it waits for BEGIN's, its
        connection stays in pipeline mode, where each read that follows leaves a transaction open: it enters `pipeline`
        twice and leaves it once (psycopg/psycopg `connection_async.py`, `_pipeline_base.py`)."""
        async with self._connection() as connection, connection.pipeline():
            await connection.execute("begin")
            yield UnitOfWork(connection)
            await connection.execute("commit")

    @asynccontextmanager
    async def _connection(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """One of the pool's, for some seconds, by default twice the time limit of a statement: longer only a server
        takes that keeps silent.

        One that turns out to be read-only leads to a primary that is none any more: the pool replaces it by a new one,
        which with several hosts and `target_session_attrs=read-write` finds the primary."""
        async with self._pool.connection() as connection:
            with cut_off_after(seconds or self._timeout * 2, connection):
                try:
                    yield connection
                except errors.ReadOnlySqlTransaction:
                    await connection.close()
                    raise
            self._freshness.note_use(connection)
            self._answered_at = time.monotonic()

    async def _check(self, connection: Connection) -> None:
        if self._freshness.is_fresh(connection):
            return
        with cut_off_after(self._timeout, connection):
            await AsyncConnectionPool.check_connection(connection)


def _conninfo(url: str, timeout: float, application: str) -> str:
    """The URL with what makes a dead server noticed: TCP limits on our side, statement limits on the server's."""
    milliseconds = int(timeout * 1000)
    return make_conninfo(
        url,
        application_name=application,
        connect_timeout=max(2, round(timeout)),
        keepalives=1,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        options=f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        f" -c idle_in_transaction_session_timeout={milliseconds * 2} -c timezone=UTC"
        # None of these ends a session that waits for the rest of a pipeline: should we vanish in the midst of one, it
        # would keep its locks for as long as the server's TCP waits, which by default is two hours.
        " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000",
    )


def _broken(error: BaseException) -> bool:
    """Whether the connection was lost, or leads to a server that takes no writes, so that another one may do."""
    return isinstance(error, errors.ReadOnlySqlTransaction) or (
        isinstance(error, psycopg.OperationalError)
        and (error.sqlstate is None or error.sqlstate.startswith(("57P", "08")))
        and not isinstance(error, PoolTimeout | ServerSilent)
    )


def _told(error: BaseException) -> str:
    """The error in words, without the data that PostgreSQL adds in a DETAIL line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return f"{error.diag.message_primary} ({error.sqlstate})"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
