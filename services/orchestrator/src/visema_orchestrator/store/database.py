"""Transactions against SQLite or PostgreSQL, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from visema_kit.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

SQLITE_BUSY_MS = 30_000
THREADS = 4
SCHEMA_VERSION = "0001"  # newest migration; equal to the database's, Alembic is not even imported
SCHEMA_LOCK = 0x5649_5345_4D41  # advisory lock of PostgreSQL for migrations: "VISEMA"


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def open_engine(url: str) -> sa.Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`, as DBOS wants it.

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
        return await self._in_thread(self._reading, partial(work, **kwargs), args)

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(session, …)` and commit."""
        return await self._in_thread(self.engine, partial(work, **kwargs), args)

    async def _in_thread(self, engine: sa.Engine, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        def transaction() -> T:
            try:
                with Session(engine, expire_on_commit=False) as session, session.begin():
                    return work(session, *args)
            except IntegrityError:
                raise
            except (DBAPIError, PoolTimeout) as error:
                raise StoreUnavailable("the job database does not answer", retry_after_s=1.0) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)

    async def migrate(self) -> None:
        """Bring the tables to the newest version; several processes may do so at once. Raises: StoreUnavailable."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._migrate)
        except DBAPIError as error:
            raise StoreUnavailable("the job database does not answer", retry_after_s=1.0) from error

    def _migrate(self) -> None:
        if self._version() == SCHEMA_VERSION:
            return
        from alembic import command  # noqa: PLC0415  # 0.3 s that a normal start does not need
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
        with self.engine.begin() as connection:
            if self.is_shared:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _version(self) -> str | None:
        with self._reading.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return version

    def close(self) -> None:
        """Close threads and connections."""
        self._threads.shutdown(wait=True)
        self.engine.dispose()
