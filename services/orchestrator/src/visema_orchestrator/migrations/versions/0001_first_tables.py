"""The first tables: jobs, events, avatars, uploads, last uses, executors."""

# ruff: noqa: INP001  # Alembic loads this file by its path
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "avatars",
        sa.Column("avatar_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("loop_prefix", sa.String(length=1024), nullable=False),
        sa.Column("executor", sa.String(length=64), nullable=False),
        sa.Column("avatar", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("avatar_id", name=op.f("pk_avatars")),
        sa.UniqueConstraint("tenant", "request_id", name=op.f("uq_avatars_tenant_request_id")),
    )
    with op.batch_alter_table("avatars") as batch_op:
        batch_op.create_index(batch_op.f("ix_avatars_tenant_avatar_id"), ["tenant", "avatar_id"], unique=False)

    op.create_table(
        "executors",
        sa.Column("executor_id", sa.String(length=64), nullable=False),
        sa.Column("beat_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_executors")),
    )
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("avatar_id", sa.String(length=64), nullable=False),
        sa.Column("portrait_key", sa.String(length=1024), nullable=False),
        sa.Column("loop_prefix", sa.String(length=1024), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("expire_us", sa.BigInteger(), nullable=False),
        sa.Column("executor", sa.String(length=64), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("tenant", "request_id", name=op.f("uq_jobs_tenant_request_id")),
    )
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_expire_us"), ["expire_us"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_state_job_id"), ["state", "job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_tenant_job_id"), ["tenant", "job_id"], unique=False)

    op.create_table(
        "last_uses",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_last_uses")),
    )
    with op.batch_alter_table("last_uses") as batch_op:
        batch_op.create_index(batch_op.f("ix_last_uses_kind_used_us"), ["kind", "used_us"], unique=False)

    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("expire_us", sa.BigInteger(), nullable=False),
        sa.Column("object", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_uploads")),
    )
    with op.batch_alter_table("uploads") as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_expire_us"), ["expire_us"], unique=False)

    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("event_us", sa.BigInteger(), nullable=False),
        sa.Column("is_progress", sa.Boolean(), nullable=False),
        sa.Column("job", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "sequence", name=op.f("pk_job_events")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("job_events")
    with op.batch_alter_table("uploads") as batch_op:
        batch_op.drop_index(batch_op.f("ix_uploads_expire_us"))

    op.drop_table("uploads")
    with op.batch_alter_table("last_uses") as batch_op:
        batch_op.drop_index(batch_op.f("ix_last_uses_kind_used_us"))

    op.drop_table("last_uses")
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_tenant_job_id"))
        batch_op.drop_index(batch_op.f("ix_jobs_state_job_id"))
        batch_op.drop_index(batch_op.f("ix_jobs_expire_us"))

    op.drop_table("jobs")
    op.drop_table("executors")
    with op.batch_alter_table("avatars") as batch_op:
        batch_op.drop_index(batch_op.f("ix_avatars_tenant_avatar_id"))

    op.drop_table("avatars")
