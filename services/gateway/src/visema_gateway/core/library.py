"""What the gateway itself must remember: integer ids and pending webhooks, in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from visema_kit.errors import AvatarNotFound, JobNotFound, StoreUnavailable

T = TypeVar("T")

Kind = Literal["avatar", "animation"]
RACES: Final = 5  # two gateways may give the same number at the same time; the second tries the next
THREADS: Final = 2


class Base(DeclarativeBase):
    """Root of the tables."""


class NumberRow(Base):
    """The integer that stands for an avatar or a job in one scope. Never given again, also after a deletion."""

    __tablename__ = "gateway_numbers"
    __table_args__ = (sa.UniqueConstraint("scope", "kind", "resource_id"),)

    scope: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    number: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    resource_id: Mapped[str] = mapped_column(sa.String(64))


class WebhookRow(Base):
    """A webhook that has not been delivered yet."""

    __tablename__ = "gateway_webhooks"

    scope: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    job_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    url: Mapped[str] = mapped_column(sa.String(2048))
    created_s: Mapped[int] = mapped_column(sa.BigInteger)


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    """A webhook to deliver."""

    scope: str
    job_id: str
    url: str


class Library:
    """Integer ids per scope, and pending webhooks. Errors: StoreUnavailable for every fault of the database."""

    def __init__(self, url: str) -> None:
        path = sa.make_url(url).database if url.startswith("sqlite") else None
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if path:
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_immediate)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="library")
        self._numbers: dict[tuple[str, Kind, str], int] = {}

    async def prepare(self) -> None:
        """Make the tables where they are missing. Raises: StoreUnavailable."""
        await self._run(lambda _: Base.metadata.create_all(self._engine))

    async def numbers(self, scope: str, kind: Kind, resource_ids: Sequence[str]) -> dict[str, int]:
        """The integers of these resources, made in this order where they are new."""
        missing = [name for name in resource_ids if (scope, kind, name) not in self._numbers]
        for attempt in range(RACES):
            if not missing:
                break
            try:
                found = await self._run(lambda session: _give_numbers(session, scope, kind, missing))
            except IntegrityError:
                if attempt == RACES - 1:
                    raise StoreUnavailable("no integer id could be made; try again", retry_after_s=1.0) from None
                continue
            self._numbers |= {(scope, kind, name): number for name, number in found.items()}
            break
        return {name: self._numbers[scope, kind, name] for name in resource_ids}

    async def number(self, scope: str, kind: Kind, resource_id: str) -> int:
        """The integer of one resource."""
        return (await self.numbers(scope, kind, [resource_id]))[resource_id]

    async def resource(self, scope: str, kind: Kind, number: int) -> str:
        """The resource that an integer stands for. Raises: AvatarNotFound, JobNotFound."""
        row = await self._run(lambda session: session.get(NumberRow, (scope, kind, number)))
        if row is None:
            missing = AvatarNotFound if kind == "avatar" else JobNotFound
            raise missing(f"there is no {kind} {number}", metadata={"id": str(number)})
        return row.resource_id

    async def add_webhook(self, webhook: PendingWebhook) -> None:
        """Remember a webhook until it is delivered; said twice, it is one."""
        row = WebhookRow(scope=webhook.scope, job_id=webhook.job_id, url=webhook.url, created_s=int(time.time()))
        await self._run(lambda session: session.merge(row))

    async def webhooks(self, scope: str) -> list[PendingWebhook]:
        """What is pending in a scope."""

        def read(session: Session) -> list[PendingWebhook]:
            rows = session.scalars(sa.select(WebhookRow).where(WebhookRow.scope == scope))
            return [PendingWebhook(row.scope, row.job_id, row.url) for row in rows]

        return await self._run(read)

    async def remove_webhook(self, webhook: PendingWebhook) -> None:
        """It is delivered, or given up."""
        key = (WebhookRow.scope == webhook.scope, WebhookRow.job_id == webhook.job_id)
        await self._run(lambda session: session.execute(sa.delete(WebhookRow).where(*key)))

    async def _run(self, work: Callable[[Session], T]) -> T:
        def transaction() -> T:
            try:
                with Session(self._engine, expire_on_commit=False) as session, session.begin():
                    return work(session)
            except IntegrityError:
                raise
            except DBAPIError as error:
                raise StoreUnavailable("the gateway's database does not answer", retry_after_s=1.0) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)

    def close(self) -> None:
        """Close threads and connections."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()


def _give_numbers(session: Session, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
    here = (NumberRow.scope == scope, NumberRow.kind == kind)
    rows = session.scalars(sa.select(NumberRow).where(*here, NumberRow.resource_id.in_(names)))
    found = {row.resource_id: row.number for row in rows}
    newest = session.scalar(sa.select(sa.func.max(NumberRow.number)).where(*here)) or 0
    for name in names:
        if name not in found:
            newest += 1
            found[name] = newest
            session.add(NumberRow(scope=scope, kind=kind, number=newest, resource_id=name))
    return found


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_immediate
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
