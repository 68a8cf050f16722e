"""Webhooks that have not been delivered yet, and which gateway delivers each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from visema_kit.database import Database

from visema_gateway.core.tables import DeliveryRow

LEASE_S: Final = 60.0  # a gateway that is silent for so long is dead: others go on with what it had
RENEWALS: Final = 4  # in the time of a lease
TAKEN_AT_ONCE: Final = 500
FREE: Final = ""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    """A webhook to deliver.

    Attributes:
        scope: Whose job it is.
        job_id: The job.
        url: Where it goes.
        sealed_token: What asks for the job, as `Seal` made it; None where no token is needed.
        attempts: Attempts that have failed.
    """

    scope: str
    job_id: str
    url: str
    sealed_token: bytes | None = None
    attempts: int = 0

    @property
    def key(self) -> Key:
        """What tells webhooks apart: a job has one at most."""
        return self.scope, self.job_id


class Deliveries:
    """Pending webhooks, each owned by one gateway at a time. Errors: StoreUnavailable for every fault of the database.

    Args: lease_s: how long what this gateway owns stays its own after `claim`.
    """

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_ms = round(lease_s * 1000)
        self._owner = secrets.token_hex(8)

    async def add(self, webhook: PendingWebhook) -> bool:
        """Remember a webhook and own it. Returns: False when the job has one already: that one stays."""
        try:
            await self._database.write(_add, webhook, self._owner, self._lease_until_ms())
        except IntegrityError:
            return False
        return True

    async def claim(self) -> tuple[set[Key], list[PendingWebhook]]:
        """Go on owning what is ours, and take what nobody owns any more. Returns: the keys of all, and the new ones."""
        return await self._database.write(_claim, self._owner, self._lease_until_ms(), self._lease_ms // RENEWALS)

    async def failed(self, webhook: PendingWebhook) -> None:
        """One more attempt was in vain."""
        await self._database.write(_update, self._mine(webhook), {"attempts": DeliveryRow.attempts + 1})

    async def remove(self, webhook: PendingWebhook) -> None:
        """It is delivered, or given up."""
        await self._database.write(_delete, self._mine(webhook))

    async def release(self) -> None:
        """Let others go on with everything at once."""
        free = {"owner": FREE, "lease_until_ms": 0}
        await self._database.write(_update, (DeliveryRow.owner == self._owner,), free)

    def _mine(self, webhook: PendingWebhook) -> tuple[sa.ColumnElement[bool], ...]:
        """The row as long as it is ours: who lost it leaves it to its new owner."""
        here = (DeliveryRow.scope == webhook.scope, DeliveryRow.job_id == webhook.job_id)
        return (*here, DeliveryRow.owner == self._owner)

    def _lease_until_ms(self) -> int:
        return _now_ms() + self._lease_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _add(session: Session, webhook: PendingWebhook, owner: str, until_ms: int) -> None:
    session.add(
        DeliveryRow(
            scope=webhook.scope,
            job_id=webhook.job_id,
            url=webhook.url,
            sealed_token=webhook.sealed_token,
            owner=owner,
            lease_until_ms=until_ms,
        )
    )


def _claim(session: Session, owner: str, until_ms: int, renew_ms: int) -> tuple[set[Key], list[PendingWebhook]]:
    due = (DeliveryRow.owner == owner, DeliveryRow.lease_until_ms <= until_ms - renew_ms)
    _update(session, due, {"lease_until_ms": until_ms})
    ownerless = sa.select(DeliveryRow).where(DeliveryRow.lease_until_ms <= _now_ms(), DeliveryRow.owner != owner)
    taken = []
    for row in session.scalars(ownerless.limit(TAKEN_AT_ONCE).with_for_update(skip_locked=True)):
        row.owner, row.lease_until_ms = owner, until_ms
        taken.append(PendingWebhook(row.scope, row.job_id, row.url, row.sealed_token, row.attempts))
    session.flush()
    keys = session.execute(sa.select(DeliveryRow.scope, DeliveryRow.job_id).where(DeliveryRow.owner == owner))
    return {(scope, job_id) for scope, job_id in keys}, taken


def _update(session: Session, where: Sequence[sa.ColumnElement[bool]], values: Mapping[str, object]) -> None:
    session.execute(sa.update(DeliveryRow).where(*where).values(values))


def _delete(session: Session, where: Sequence[sa.ColumnElement[bool]]) -> None:
    session.execute(sa.delete(DeliveryRow).where(*where))
