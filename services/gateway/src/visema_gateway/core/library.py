"""Integer ids of avatars and jobs, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from visema_kit.database import Database
from visema_kit.errors import AvatarNotFound, JobNotFound, StoreUnavailable

from visema_gateway.core.tables import NumberRow

Kind = Literal["avatar", "animation"]
RACES: Final = 5  # two gateways may give the same number at the same time; the second tries the next
NUMBERS_KEPT: Final = 20_000


class Library:
    """Integer ids per scope. Errors: StoreUnavailable for every fault of the database.

    Args: numbers_kept: how many are known without asking the database; they never change, so they are never wrong.
    """

    def __init__(self, database: Database, numbers_kept: int = NUMBERS_KEPT) -> None:
        self._database = database
        self._known = _Known(numbers_kept)

    async def numbers(self, scope: str, kind: Kind, resource_ids: Sequence[str]) -> dict[str, int]:
        """The integers of these resources, made in this order where they are new."""
        found: dict[str, int] = {}
        for find in (self._kept, self._stored, self._made):
            missing = [name for name in resource_ids if name not in found]
            if missing:
                found |= await find(scope, kind, missing)
        self._known.add(scope, kind, found)
        return found

    async def number(self, scope: str, kind: Kind, resource_id: str) -> int:
        """The integer of one resource."""
        return (await self.numbers(scope, kind, [resource_id]))[resource_id]

    async def resource(self, scope: str, kind: Kind, number: int) -> str:
        """The resource that an integer stands for. Raises: AvatarNotFound, JobNotFound."""
        known = self._known.resource(scope, kind, number)
        if known is not None:
            return known
        stored = await self._database.read(_resource_of, scope, kind, number)
        if stored is None:
            missing = AvatarNotFound if kind == "avatar" else JobNotFound
            raise missing(f"there is no {kind} {number}", metadata={"id": str(number)})
        self._known.add(scope, kind, {stored: number})
        return stored

    async def _kept(self, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
        return {name: number for name in names if (number := self._known.number(scope, kind, name)) is not None}

    async def _stored(self, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
        return await self._database.read(_numbers_of, scope, kind, names)

    async def _made(self, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
        for _ in range(RACES):
            try:
                return await self._database.write(_give_numbers, scope, kind, names)
            except IntegrityError:
                continue
        raise StoreUnavailable("no integer id could be made; try again", retry_after_s=1.0)


class _Known:
    """Numbers in both directions, so many of them; the ones asked for longest ago go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers: OrderedDict[tuple[str, Kind, str], int] = OrderedDict()
        self._resources: dict[tuple[str, Kind, int], str] = {}

    def number(self, scope: str, kind: Kind, name: str) -> int | None:
        number = self._numbers.get((scope, kind, name))
        if number is not None:
            self._numbers.move_to_end((scope, kind, name))
        return number

    def resource(self, scope: str, kind: Kind, number: int) -> str | None:
        name = self._resources.get((scope, kind, number))
        if name is not None:
            self._numbers.move_to_end((scope, kind, name))
        return name

    def add(self, scope: str, kind: Kind, numbers: Mapping[str, int]) -> None:
        for name, number in numbers.items():
            self._numbers[scope, kind, name] = number
            self._resources[scope, kind, number] = name
        while len(self._numbers) > self._most:
            (old_scope, old_kind, _), old_number = self._numbers.popitem(last=False)
            del self._resources[old_scope, old_kind, old_number]


def _resource_of(session: Session, scope: str, kind: Kind, number: int) -> str | None:
    row = session.get(NumberRow, (scope, kind, number))
    return None if row is None else row.resource_id


def _numbers_of(session: Session, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
    here = (NumberRow.scope == scope, NumberRow.kind == kind, NumberRow.resource_id.in_(names))
    return {row.resource_id: row.number for row in session.scalars(sa.select(NumberRow).where(*here))}


def _give_numbers(session: Session, scope: str, kind: Kind, names: Sequence[str]) -> dict[str, int]:
    found = _numbers_of(session, scope, kind, names)
    here = (NumberRow.scope == scope, NumberRow.kind == kind)
    newest = session.scalar(sa.select(sa.func.max(NumberRow.number)).where(*here)) or 0
    for name in names:
        if name not in found:
            newest += 1
            found[name] = newest
            session.add(NumberRow(scope=scope, kind=kind, number=newest, resource_id=name))
    return found
