"""Integer ids of avatars and jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from visema_gateway.core.library import Library
from visema_gateway.core.tables import Base, NumberRow
from visema_kit.database import Database
from visema_kit.errors import AvatarNotFound


async def opened(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'ids.db'}")
    await database.change_schema(Base.metadata.create_all)
    return database


async def test_integer_ids_are_per_scope_and_survive_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        database = await opened(tmp_path)
        library = Library(database)
        assert await library.numbers("a", "avatar", ["x", "y"]) == {"x": 1, "y": 2}
        assert await library.number("b", "avatar", "y") == 1
        assert await library.resource("a", "avatar", 2) == "y"
        with pytest.raises(AvatarNotFound):
            await library.resource("a", "avatar", 3)
        database.close()


async def test_numbers_given_at_the_same_time_are_different(tmp_path: Path) -> None:
    databases = [await opened(tmp_path) for _ in range(3)]
    libraries = [Library(database) for database in databases]
    given = await asyncio.gather(
        *(
            library.number("s", "animation", f"{index}-{n}")
            for n in range(20)
            for index, library in enumerate(libraries)
        )
    )
    assert sorted(given) == list(range(1, 61))
    for database in databases:
        database.close()


async def test_what_is_known_is_not_asked_again_and_what_is_kept_is_bounded(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    library = Library(database, numbers_kept=2)
    names = ["a", "b", "c"]
    assert await library.numbers("s", "avatar", names) == {"a": 1, "b": 2, "c": 3}
    await database.write(lambda session: session.query(NumberRow).delete())  # as if it did not answer
    assert [await library.resource("s", "avatar", number) for number in (2, 3)] == ["b", "c"]
    assert await library.number("s", "avatar", "b") == 2
    with pytest.raises(AvatarNotFound):
        await library.resource("s", "avatar", 1)
    database.close()


async def test_reading_a_number_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await Library(database).number("s", "avatar", "a")
    with database.engine.begin():  # holds the write lock
        assert await Library(database).resource("s", "avatar", 1) == "a"
    database.close()
