"""Object keys: `<kind>/<tenant>/…`. Servers make them; names are checked before they become part of one.

| kind | holds | lives |
|---|---|---|
| `uploads` | files on their way in | until taken over; a 1-day rule is the backstop |
| `media` | accepted portraits and speech | as long as jobs may use them |
| `avatars` | portraits of avatars | until the avatar is deleted |
| `loops` | prepared idle animation | by last use; is rendered again when missing |
| `jobs` | segments of running jobs | until the job ends; a 1-day rule is the backstop |
| `results` | finished videos, posters, stills | some days |
"""

from __future__ import annotations

import re
from typing import Final

from visema.common.v1 import common_pb2

from visema_kit.errors import ForeignObject, InvalidInput

KINDS: Final = ("uploads", "media", "avatars", "loops", "jobs", "results")
TEMPORARY_KINDS: Final = ("uploads", "jobs")
DEFAULT_TENANT: Final = "default"

_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")  # no leading dot, so never `.` or `..`
_PARTS_BEFORE_NAME: Final = 2  # kind and tenant


def check_tenant_name(tenant: str, field: str = "context.tenant") -> str:
    """The name unchanged. Raises: InvalidInput: it cannot be part of a key."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidInput(f"{tenant[:80]!r} is not a tenant name", field=field)
    return tenant


def object_key(kind: str, tenant: str, *names: str) -> str:
    """`<kind>/<tenant>/<names…>`.

    Raises: InvalidInput: the tenant or a name cannot be part of a key. ValueError: no such kind, or no name.
    """
    if not names:
        raise ValueError("a key needs a name after the tenant")
    return key_prefix(kind, tenant, *names).rstrip("/")


def key_prefix(kind: str, tenant: str, *names: str) -> str:
    """`<kind>/<tenant>/<names…>/`, for everything below. Raises: as object_key."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not one of {KINDS}")
    check_tenant_name(tenant)
    for name in names:
        if not _PART.fullmatch(name):
            raise InvalidInput(f"{name[:80]!r} cannot be part of an object key", metadata={"kind": kind})
    return "/".join((kind, tenant, *names)) + "/"


def upload_key(tenant: str, upload_id: str) -> str:
    """A file that a client is sending."""
    return object_key("uploads", tenant, upload_id)


def media_key(tenant: str, name: str) -> str:
    """An accepted portrait or speech."""
    return object_key("media", tenant, name)


def avatar_key(tenant: str, avatar_id: str, name: str) -> str:
    """Something that belongs to an avatar."""
    return object_key("avatars", tenant, avatar_id, name)


def loop_key(tenant: str, digest: str, name: str) -> str:
    """Part of a prepared idle animation; `digest` covers portrait, settings, engine, weights, size and rate."""
    return object_key("loops", tenant, digest, name)


def job_key(tenant: str, work_id: str, *names: str) -> str:
    """Something temporary of a job or of an avatar's preparation."""
    if not names:
        raise ValueError("a key needs a name after the work id")
    return object_key("jobs", tenant, work_id, *names)


def job_prefix(tenant: str, work_id: str) -> str:
    """Everything temporary of a job."""
    return key_prefix("jobs", tenant, work_id)


def result_key(tenant: str, job_id: str, name: str) -> str:
    """A finished video, poster or still."""
    return object_key("results", tenant, job_id, name)


def tenant_of(key: str) -> str:
    """The tenant that owns a key. Raises: ForeignObject: not a key of ours."""
    parts = key.split("/")
    if (
        len(parts) <= _PARTS_BEFORE_NAME
        or parts[0] not in KINDS
        or not _TENANT.fullmatch(parts[1])
        or not all(_PART.fullmatch(part) for part in parts[_PARTS_BEFORE_NAME:])
    ):
        raise ForeignObject("the object is not one of this system's", metadata={"key": key[:200]})
    return parts[1]


def check_tenant(ref: common_pb2.ObjectRef, tenant: str, bucket: str) -> None:
    """Refuse a reference to another bucket or into another tenant's keys, before any I/O.

    Raises: ForeignObject: it is not the tenant's.
    """
    if ref.bucket != bucket:
        raise ForeignObject("the object is in another bucket", metadata={"bucket": ref.bucket[:100]})
    if tenant_of(ref.key) != tenant:
        raise ForeignObject("the object belongs to another tenant", metadata={"key": ref.key[:200]})
