"""Avatars. Every function runs in a transaction of `Database`."""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session
from visema.orchestrator.v1 import avatars_pb2
from visema_kit.errors import AvatarNotFound, RequestIdReused

from visema_orchestrator.store.database import now_us
from visema_orchestrator.store.jobs import timestamp
from visema_orchestrator.store.paging import Page
from visema_orchestrator.store.tables import AvatarRow

PREPARING = avatars_pb2.AVATAR_STATE_PREPARING


def find_request(session: Session, tenant: str, request_id: str, body_digest: str) -> avatars_pb2.Avatar | None:
    """The avatar that a request made before. Raises: RequestIdReused: the request had another body."""
    row = session.scalar(sa.select(AvatarRow).where(AvatarRow.tenant == tenant, AvatarRow.request_id == request_id))
    if row is None:
        return None
    if row.body_digest != body_digest:
        raise RequestIdReused(
            "this request id was used before with another body",
            field="request_id",
            metadata={"request_id": request_id, "avatar_id": row.avatar_id},
        )
    return avatars_pb2.Avatar.FromString(row.avatar)


def add(session: Session, tenant: str, body_digest: str, avatar: avatars_pb2.Avatar, executor: str) -> None:
    """Store a new avatar. Raises: IntegrityError: the request id exists by now."""
    session.add(
        AvatarRow(
            avatar_id=avatar.avatar_id,
            tenant=tenant,
            request_id=avatar.request_id or None,
            body_digest=body_digest,
            state=avatar.state,
            loop_prefix="",
            executor=executor,
            avatar=avatar.SerializeToString(),
        )
    )
    session.flush()


def get(session: Session, tenant: str, avatar_id: str) -> avatars_pb2.Avatar:
    """Read an avatar. Raises: AvatarNotFound."""
    return avatars_pb2.Avatar.FromString(_row(session, tenant, avatar_id).avatar)


def get_page(session: Session, tenant: str, page: Page) -> list[avatars_pb2.Avatar]:
    """Avatars of a tenant, newest first; one more than `page.size` when there are more."""
    query = sa.select(AvatarRow.avatar).where(AvatarRow.tenant == tenant)
    if page.before:
        query = query.where(AvatarRow.avatar_id < page.before)
    rows = session.scalars(query.order_by(AvatarRow.avatar_id.desc()).limit(page.size + 1))
    return [avatars_pb2.Avatar.FromString(row) for row in rows]


def adopt(session: Session, avatar_id: str, executor: str) -> tuple[str, avatars_pb2.Avatar] | None:
    """Make `executor` prepare an avatar: (tenant, avatar). None: it is gone or prepared."""
    row = session.get(AvatarRow, avatar_id, with_for_update=True)
    if row is None or row.state != PREPARING:
        return None
    row.executor = executor
    return row.tenant, avatars_pb2.Avatar.FromString(row.avatar)


def change(
    session: Session,
    avatar_id: str,
    edit: Callable[[avatars_pb2.Avatar], None],
    loop_prefix: str = "",
) -> avatars_pb2.Avatar | None:
    """Edit an avatar; None when it is gone. A `loop_prefix` is stored with it."""
    row = session.get(AvatarRow, avatar_id, with_for_update=True)
    if row is None:
        return None
    avatar = avatars_pb2.Avatar.FromString(row.avatar)
    edit(avatar)
    avatar.update_time.CopyFrom(timestamp(now_us()))
    row.avatar = avatar.SerializeToString()
    row.state = avatar.state
    row.loop_prefix = loop_prefix or row.loop_prefix
    return avatar


def preparing_of(session: Session, executors: Collection[str]) -> list[str]:
    """Avatars that these processes prepare."""
    query = sa.select(AvatarRow.avatar_id).where(AvatarRow.state == PREPARING, AvatarRow.executor.in_(executors))
    return list(session.scalars(query))


def preparing_owners(session: Session) -> set[str]:
    """Processes that prepare avatars."""
    return set(session.scalars(sa.select(AvatarRow.executor).where(AvatarRow.state == PREPARING).distinct()))


def delete(session: Session, tenant: str, avatar_id: str) -> tuple[avatars_pb2.Avatar, str]:
    """Forget an avatar. Returns: the avatar and its loop's prefix. Raises: AvatarNotFound."""
    row = _row(session, tenant, avatar_id)
    avatar, loop_prefix = avatars_pb2.Avatar.FromString(row.avatar), row.loop_prefix
    session.delete(row)
    return avatar, loop_prefix


def loops_in_use(session: Session) -> set[tuple[str, str]]:
    """(tenant, prefix) of the loops that avatars keep."""
    query = sa.select(AvatarRow.tenant, AvatarRow.loop_prefix).where(AvatarRow.loop_prefix != "")
    return {(tenant, prefix) for tenant, prefix in session.execute(query)}


def _row(session: Session, tenant: str, avatar_id: str) -> AvatarRow:
    row = session.scalar(sa.select(AvatarRow).where(AvatarRow.avatar_id == avatar_id, AvatarRow.tenant == tenant))
    if row is None:
        raise AvatarNotFound("no such avatar", metadata={"avatar_id": avatar_id})
    return row
