"""Transactions against SQLite or PostgreSQL, off the event loop. Needs the extra `database`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from visema_kit.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

SQLITE_BUSY_MS: Final = 30_000
THREADS: Final = 4
SCHEMA_LOCK: Final = 0x5649_5345_4D41  # advisory lock of PostgreSQL for changes of the schema: "VISEMA"


def url_with_driver(url: str) -> str:
    """`postgresql://…`, as operators write it, with the driver that we use."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def open_engine(url: str) -> sa.Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`.

    SQLite: write-ahead log, so that readers do not wait, and no disk flush for each commit.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True, pool_size=THREADS, connect_args={"connect_timeout": 5})
    path = sa.make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # the first statement that writes takes the write lock
        connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # safe against a killed process; a power cut loses the newest
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def open_domain_engine(url: str) -> sa.Engine:
    """An engine whose transactions take SQLite's write lock at their start, so that reading and then writing cannot
    race; the execution option `visema_writes=False` leaves the lock alone.
    """
    engine = open_engine(url)
    if engine.dialect.name != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin below

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("visema_writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Database:
    """Runs functions that take a `Session` in worker threads, each in one transaction.

    Errors: StoreUnavailable for every fault of the database; errors of the function pass unchanged.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_domain_engine(url)
        self.is_shared = not url.startswith("sqlite")
        self._reading = self.engine.execution_options(visema_writes=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(session, …)`, which only reads."""
        return await self._transact(self._reading, partial(work, **kwargs), args)

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(session, …)` and commit."""
        return await self._transact(self.engine, partial(work, **kwargs), args)

    async def look(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work(connection)`, which only reads, e.g. what tables there are."""

        def transaction() -> T:
            with self._reading.connect() as connection:
                return work(connection)

        return await self._in_thread(transaction)

    async def change_schema(self, work: Callable[[sa.Connection], object]) -> None:
        """Run `work(connection)`, which makes or alters tables; processes that do so at once take turns."""

        def transaction() -> None:
            with self.engine.begin() as connection:
                if self.is_shared:
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
                work(connection)

        await self._in_thread(transaction)

    async def _transact(self, engine: sa.Engine, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        def transaction() -> T:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                return work(session, *args)

        return await self._in_thread(transaction)

    async def _in_thread(self, transaction: Callable[[], T]) -> T:
        def checked() -> T:
            try:
                return transaction()
            except IntegrityError:
                raise
            except (DBAPIError, PoolTimeout) as error:
                raise StoreUnavailable("the database does not answer", retry_after_s=1.0) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, checked)

    def close(self) -> None:
        """Close threads and connections."""
        self._threads.shutdown(wait=True)
        self.engine.dispose()
