"""Uploads that were promised, and when stored files were used last."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session
from visema.common.v1 import common_pb2
from visema_kit.errors import NotFound

from visema_orchestrator.store.database import now_us
from visema_orchestrator.store.tables import LastUseRow, UploadRow

MEDIA, LOOP = "media", "loop"


def add_upload(session: Session, upload: UploadRow) -> None:
    """Remember an upload address."""
    session.add(upload)


def get_upload(session: Session, tenant: str, upload_id: str) -> UploadRow:
    """An upload of the tenant. Raises: NotFound."""
    query = sa.select(UploadRow).where(UploadRow.upload_id == upload_id, UploadRow.tenant == tenant)
    upload = session.scalar(query)
    if upload is None:
        raise NotFound("no such upload", field="upload_id", metadata={"upload_id": upload_id})
    return upload


def complete_upload(session: Session, upload_id: str, ref: common_pb2.ObjectRef) -> None:
    """Remember what an upload became."""
    query = sa.update(UploadRow).where(UploadRow.upload_id == upload_id)
    session.execute(query.values(object=ref.SerializeToString()))


def expired_uploads(session: Session, at_us: int, limit: int) -> list[UploadRow]:
    """Uploads whose address works no more."""
    return list(session.scalars(sa.select(UploadRow).where(UploadRow.expire_us <= at_us).limit(limit)))


def delete_upload(session: Session, upload_id: str) -> None:
    """Forget an upload."""
    session.execute(sa.delete(UploadRow).where(UploadRow.upload_id == upload_id))


def touch(session: Session, tenant: str, kind: str, key: str, at_us: int | None = None) -> None:
    """Record that an object or prefix is in use now (or was at `at_us`)."""
    session.merge(LastUseRow(tenant=tenant, key=key, kind=kind, used_us=now_us() if at_us is None else at_us))


def unused(session: Session, kind: str, before_us: int, limit: int) -> list[tuple[str, str]]:
    """(tenant, key) that nobody has used since `before_us`, oldest first."""
    query = sa.select(LastUseRow.tenant, LastUseRow.key).where(LastUseRow.kind == kind, LastUseRow.used_us < before_us)
    return [(tenant, key) for tenant, key in session.execute(query.order_by(LastUseRow.used_us).limit(limit))]


def forget(session: Session, tenant: str, key: str) -> None:
    """Drop the record of an object that was deleted."""
    session.execute(sa.delete(LastUseRow).where(LastUseRow.tenant == tenant, LastUseRow.key == key))


def touch_all(session: Session, tenant: str, kind: str, keys: Iterable[str]) -> None:
    """`touch` several objects."""
    for key in keys:
        touch(session, tenant, kind, key)
