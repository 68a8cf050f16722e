"""Tables of the orchestrator. Every table carries the tenant; times are microseconds since 1970 (UTC).

Jobs and avatars are kept as serialised protos beside the columns that queries need: the protos are
kept compatible by `make proto-check`, so a stored message stays readable.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, LargeBinary, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID_CHARS = 64
TENANT_CHARS = 64
KEY_CHARS = 1024
REQUEST_ID_CHARS = 128


class Base(DeclarativeBase):
    """Root of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class JobRow(Base):
    """A job. `job_id` rises with time, so it is the order of the queue and of lists."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("tenant", "request_id"),
        Index(None, "tenant", "job_id"),
        Index(None, "state", "job_id"),
        Index(None, "expire_us"),
    )

    job_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(TENANT_CHARS))
    request_id: Mapped[str | None] = mapped_column(String(REQUEST_ID_CHARS))
    body_digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[int] = mapped_column(Integer)
    avatar_id: Mapped[str] = mapped_column(String(ID_CHARS))
    portrait_key: Mapped[str] = mapped_column(String(KEY_CHARS))
    loop_prefix: Mapped[str] = mapped_column(String(KEY_CHARS))
    create_us: Mapped[int] = mapped_column(BigInteger)
    expire_us: Mapped[int] = mapped_column(BigInteger)  # 0 while the job has not ended
    executor: Mapped[str] = mapped_column(String(ID_CHARS))  # process that owns the job while it runs
    cancel_requested: Mapped[bool] = mapped_column(Boolean)
    sequence: Mapped[int] = mapped_column(BigInteger)  # of the newest event
    job: Mapped[bytes] = mapped_column(LargeBinary)


class JobEventRow(Base):
    """One event of a job: the whole job without its spec, as it was after the event."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(
        String(ID_CHARS), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True
    )
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tenant: Mapped[str] = mapped_column(String(TENANT_CHARS))
    event_us: Mapped[int] = mapped_column(BigInteger)
    is_progress: Mapped[bool] = mapped_column(Boolean)  # at most one per job: a newer one replaces it
    job: Mapped[bytes] = mapped_column(LargeBinary)


class AvatarRow(Base):
    """An avatar."""

    __tablename__ = "avatars"
    __table_args__ = (UniqueConstraint("tenant", "request_id"), Index(None, "tenant", "avatar_id"))

    avatar_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(TENANT_CHARS))
    request_id: Mapped[str | None] = mapped_column(String(REQUEST_ID_CHARS))
    body_digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[int] = mapped_column(Integer)
    loop_prefix: Mapped[str] = mapped_column(String(KEY_CHARS))
    executor: Mapped[str] = mapped_column(String(ID_CHARS))
    avatar: Mapped[bytes] = mapped_column(LargeBinary)


class UploadRow(Base):
    """An address given out for an HTTP upload; `object` is set once the file was taken over."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "expire_us"),)

    upload_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(TENANT_CHARS))
    kind: Mapped[int] = mapped_column(Integer)
    key: Mapped[str] = mapped_column(String(KEY_CHARS))
    expire_us: Mapped[int] = mapped_column(BigInteger)
    object: Mapped[bytes | None] = mapped_column(LargeBinary)


class LastUseRow(Base):
    """When an uploaded file or a prepared loop was used last; the sweep deletes by it.

    `key` is an object's key, or a prefix that ends in a slash.
    """

    __tablename__ = "last_uses"
    __table_args__ = (Index(None, "kind", "used_us"),)

    tenant: Mapped[str] = mapped_column(String(TENANT_CHARS), primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_CHARS), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    used_us: Mapped[int] = mapped_column(BigInteger)


class ExecutorRow(Base):
    """A running orchestrator process and its last sign of life. Belongs to no tenant."""

    __tablename__ = "executors"

    executor_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    beat_us: Mapped[int] = mapped_column(BigInteger)
