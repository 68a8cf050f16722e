"""The gateway's own tables."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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


class DeliveryRow(Base):
    """A webhook that has not been delivered yet, and the process that does it until `lease_until_ms`."""

    __tablename__ = "gateway_deliveries"

    scope: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    job_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    url: Mapped[str] = mapped_column(sa.String(2048))
    sealed_token: Mapped[bytes | None] = mapped_column(sa.LargeBinary(1024))
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    owner: Mapped[str] = mapped_column(sa.String(32))
    lease_until_ms: Mapped[int] = mapped_column(sa.BigInteger, index=True)
