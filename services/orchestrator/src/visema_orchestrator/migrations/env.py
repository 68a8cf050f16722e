"""Runs migrations on the connection that `Database.migrate` opened."""

# ruff: noqa: INP001  # Alembic loads this file by its path
from __future__ import annotations

from alembic import context
from visema_orchestrator.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter columns in place
)
with context.begin_transaction():
    context.run_migrations()
