"""Signs of life of orchestrator processes that share one database."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from visema_orchestrator.store.database import now_us
from visema_orchestrator.store.tables import ExecutorRow


def beat(session: Session, executor: str) -> None:
    """This process lives."""
    session.merge(ExecutorRow(executor_id=executor, beat_us=now_us()))


def alive_since(session: Session, since_us: int) -> set[str]:
    """Processes that gave a sign of life since then."""
    return set(session.scalars(sa.select(ExecutorRow.executor_id).where(ExecutorRow.beat_us >= since_us)))


def forget(session: Session, executors: Collection[str]) -> None:
    """Drop processes that have ended."""
    session.execute(sa.delete(ExecutorRow).where(ExecutorRow.executor_id.in_(executors)))
