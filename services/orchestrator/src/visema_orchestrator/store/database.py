"""The database of jobs, avatars and media, with its migrations."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa
from visema_kit import database

SCHEMA_VERSION = "0001"  # newest migration; equal to the database's, Alembic is not even imported


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Database(database.Database):
    """The kit's database with our tables."""

    async def migrate(self) -> None:
        """Bring the tables to the newest version; several processes may do so at once. Raises: StoreUnavailable."""
        if await self.look(_version) != SCHEMA_VERSION:
            await self.change_schema(_upgrade)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415  # 0.3 s that a normal start does not need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return version
