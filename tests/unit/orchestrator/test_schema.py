"""Migrations make exactly the tables that the code declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from visema_kit.errors import StoreUnavailable
from visema_orchestrator.store import database as module
from visema_orchestrator.store.database import SCHEMA_VERSION, Database
from visema_orchestrator.store.tables import Base


async def test_the_migrated_tables_are_the_declared_ones(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new.db")
    await database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    await database.migrate()  # a second start changes nothing
    database.close()


def test_the_version_in_the_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent.parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION


def test_every_table_with_user_data_carries_the_tenant() -> None:
    without = {name for name, table in Base.metadata.tables.items() if "tenant" not in table.columns}
    assert without == {"executors"}


async def test_a_database_that_is_away_is_a_typed_error() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        await database.migrate()
    database.close()


def test_a_reading_transaction_does_not_wait_for_a_writing_one(tmp_path: Path) -> None:
    import sqlalchemy as sa

    database = Database(f"sqlite:///{tmp_path}/lock.db")
    with database.engine.begin() as writer:
        writer.execute(sa.text("CREATE TABLE t (x INTEGER)"))
        with database.engine.execution_options(visema_writes=False).begin() as reader:
            assert reader.execute(sa.text("SELECT 1")).scalar() == 1
    database.close()
