"""Objects in S3-compatible storage, by reference: every read checks owner, size and hash."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

from visema.common.v1 import common_pb2

from visema_kit import keys
from visema_kit.digest import sha256_of
from visema_kit.errors import (
    ForeignObject,
    InvalidInput,
    MediaTooLarge,
    ObjectCorrupt,
    ObjectMismatch,
    ObjectNotFound,
    StoreUnavailable,
    VisemaError,
)
from visema_kit.http_pool import UNWANTED
from visema_kit.logs import get_logger
from visema_kit.s3 import CONNECTIONS, OCTET_STREAM, S3Bucket, StoreConfig

if TYPE_CHECKING:
    import urllib3
    from minio.datatypes import Part

    from visema_kit.metrics import Metrics

__all__ = ["ObjectStore", "StoreConfig"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PART_BYTES: Final = 8 * 1024 * 1024  # S3 wants 5 MiB or more for all parts but the last
GET_LIMIT_BYTES: Final = 256 * 1024 * 1024
WAITING_POLL_S: Final = 0.1
WAITING_WARNING_S: Final = 10.0
LONGEST_REFUSED_PAUSE_S: Final = 5.0

log = get_logger(__name__)


class ObjectStore:
    """One bucket. Blocking client calls run in a bounded thread pool; no method blocks the event loop.

    Objects are immutable: a key is written with one content only. The content's SHA-256 is kept in the object's user
    metadata, so that `stat` gives a full reference without reading.

    Every method raises StoreUnavailable when the store does not answer or refuses the service, and ForeignObject for a
    key that is not one of ours.
    """

    def __init__(self, config: StoreConfig, metrics: Metrics | None = None) -> None:
        self.bucket = config.bucket
        self._s3 = S3Bucket(config, metrics)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="objects")

    async def aclose(self) -> None:
        """Wait for running operations and close the connections."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        self._s3.close()

    # Writing

    async def put(self, key: str, data: bytes, media_type: str) -> common_pb2.ObjectRef:
        """Store `data`. Writing the same content again changes nothing."""
        keys.tenant_of(key)
        return await self._run(self._s3.put, key, data, media_type)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], media_type: str, max_bytes: int
    ) -> common_pb2.ObjectRef:
        """Store what `chunks` gives, hashed on the way, in the memory of a few parts. Nothing stays behind on failure.

        The hash is known only at the end, so what is larger than a part goes to a staging key and is copied from there.

        Raises: MediaTooLarge: more than `max_bytes`. What `chunks` raises.
        """
        upload = _Upload(self, keys.tenant_of(key), media_type)
        hasher, size_bytes, buffer = hashlib.sha256(), 0, bytearray()
        try:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > max_bytes:
                    raise _too_large(max_bytes)
                hasher.update(chunk)
                buffer += chunk
                while len(buffer) > PART_BYTES:  # not >=: the last part must not be empty
                    await upload.add(bytes(buffer[:PART_BYTES]))
                    del buffer[:PART_BYTES]
            if not upload.begun:
                return await self.put(key, bytes(buffer), media_type)
            await upload.add(bytes(buffer))
            ref = self._s3.ref(key, hasher.hexdigest(), size_bytes, media_type)
            await upload.move_to(ref)
            return ref
        finally:
            await _finish(upload.discard())

    async def copy(self, ref: common_pb2.ObjectRef, key: str, media_type: str = "") -> common_pb2.ObjectRef:
        """Copy inside the store, without the bytes passing here. Args: media_type: instead of the source's.

        Raises: ObjectNotFound. ObjectMismatch: the source has another size or hash than `ref` says.
        """
        self._check_bucket(ref)
        keys.tenant_of(key)
        source = await self._existing(ref.key)
        _check_claim(ref, source)
        target = self._s3.ref(key, source.sha256, source.size_bytes, media_type or source.media_type)
        await self._run(self._s3.copy, ref.key, target)
        return target

    async def adopt(
        self, upload_key: str, key: str, media_type_of: Callable[[bytes], str], max_bytes: int
    ) -> common_pb2.ObjectRef:
        """Take over a file that a client sent to a presigned address, and delete the upload.

        A presigned address can be used again until it expires, so the file is copied out of its reach before it is
        hashed: what was hashed is what is stored. Its first bytes say what it is, for `media_type_of`.

        Raises: ObjectNotFound: nothing was sent. MediaTooLarge: more than `max_bytes`; the upload is deleted.
        """
        keys.tenant_of(key)
        staging_key = _staging_key(keys.tenant_of(upload_key))
        try:
            uploaded = await self._existing(upload_key)
            if uploaded.size_bytes > max_bytes:
                await self.delete(upload_key)
                raise _too_large(max_bytes)
            await self._run(self._s3.copy, upload_key, self._s3.ref(staging_key, "", 0, OCTET_STREAM))
            staged = await self._existing(staging_key)  # the upload may have been replaced after its size was checked
            if staged.size_bytes > max_bytes:
                raise _too_large(max_bytes)
            sha256, size_bytes, first = await self._run(self._s3.hash, staging_key)
            ref = self._s3.ref(key, sha256, size_bytes, media_type_of(first))
            await self._run(self._s3.copy, staging_key, ref)
            await self.delete(upload_key)
            return ref
        finally:
            await _finish(self.delete(staging_key))

    # Reading

    async def get(self, ref: common_pb2.ObjectRef, tenant: str, max_bytes: int = GET_LIMIT_BYTES) -> bytes:
        """The whole content.

        Raises: ForeignObject: not the tenant's. ObjectNotFound. MediaTooLarge: more than `max_bytes`.
            ObjectMismatch: the reference has another size or hash. ObjectCorrupt: the store lost or changed bytes.
        """
        keys.check_tenant(ref, tenant, self.bucket)
        if ref.size_bytes > max_bytes:
            raise _too_large(max_bytes)
        content, sha256 = await self._run(self._read, ref)
        if len(content) != ref.size_bytes or sha256 != ref.sha256:
            # Whose fault it is stands in what was noted when the object was written.
            _check_claim(ref, await self._existing(ref.key))
            raise _corrupt(ref)
        return content

    async def stat(self, key: str) -> common_pb2.ObjectRef | None:
        """A full reference without reading the content; None when there is no such object.

        `sha256` is empty for a file that a client sent to a presigned address.
        """
        keys.tenant_of(key)
        try:
            return await self._run(self._s3.stat, key)
        except ObjectNotFound:
            return None

    async def iter_range(
        self, ref: common_pb2.ObjectRef, tenant: str, offset: int = 0, length: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Pieces of up to 256 KiB from byte `offset` on, `length` bytes or (0) up to the end.

        `await` opens the object; whoever leaves the generator early closes it (`contextlib.aclosing`).

        Raises: as `get`, but without a limit; InvalidInput: the range does not lie in the object. The generator raises
            ObjectCorrupt where bytes are missing, or after a whole object that has another hash.
        """
        keys.check_tenant(ref, tenant, self.bucket)
        wanted = length or ref.size_bytes - offset
        if offset < 0 or length < 0 or not 0 <= wanted <= ref.size_bytes - offset:
            raise InvalidInput(
                f"{wanted} bytes from {offset} do not lie in an object of {ref.size_bytes}", field="offset_bytes"
            )
        _check_claim(ref, await self._existing(ref.key))
        response = await self._run(self._s3.open, ref.key, offset, wanted) if wanted else None
        return self._pieces(response, ref, wanted)

    # Deleting

    async def delete(self, key: str) -> None:
        """Delete an object; one that does not exist counts as deleted."""
        keys.tenant_of(key)
        await self._run(self._s3.delete, key)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything below `<kind>/<tenant>/` or deeper. Returns: how many objects there were.

        Raises: ForeignObject: the prefix does not end in `/` or names no tenant.
        """
        if not prefix.endswith("/"):
            raise ForeignObject("a prefix ends in /", metadata={"prefix": prefix[:200]})
        keys.tenant_of(prefix + "x")
        return await self._run(self._s3.delete_prefix, prefix)

    async def folders(self, kind: str) -> set[tuple[str, str]]:
        """Tenants and names of what has objects at `<kind>/<tenant>/<name>/…`. Lists every object of the kind."""
        return await self._run(self._s3.folders, kind)

    # Presigned addresses

    async def presign_put(self, key: str, expires_s: int) -> str:
        """An address that takes one HTTP PUT after another until it expires; it limits neither size nor content."""
        keys.tenant_of(key)
        return self._s3.presign_put(key, expires_s)

    async def presign_get(self, ref: common_pb2.ObjectRef, expires_s: int, filename: str = "") -> str:
        """An address from which a browser downloads the object, named `filename`, until it expires.

        The caller has checked the tenant.
        """
        self._check_bucket(ref)
        keys.tenant_of(ref.key)
        return self._s3.presign_get(ref.key, expires_s, ref.media_type, filename)

    # The bucket

    async def ensure_bucket(self) -> None:
        """Make the bucket if it is missing, with a rule that deletes forgotten temporary objects after a day."""
        await self._run(self._s3.ensure)

    async def wait_for_bucket(self) -> None:
        """`ensure_bucket` as soon as the store answers: a service that starts before its store waits for it.

        A store that answers but refuses is asked again ever more rarely: its credentials may only be on their way.
        """
        waiting_since, next_warning_s = time.monotonic(), 0.0
        pause_s = WAITING_POLL_S
        reason = "the object store does not answer"
        while True:
            if await self._run(self._s3.answers):  # without the retries that a call makes when all is well
                try:
                    await self.ensure_bucket()
                except StoreUnavailable as error:
                    reason = error.message
                    pause_s = min(2 * pause_s, LONGEST_REFUSED_PAUSE_S)
                else:
                    return
            waited_s = time.monotonic() - waiting_since
            if waited_s >= next_warning_s:
                log.warning("waiting_for_store", reason=reason, waited_s=round(waited_s, 1))
                next_warning_s = waited_s + WAITING_WARNING_S
            await asyncio.sleep(pause_s)

    async def check(self) -> None:
        """Ask the store for the bucket. Raises: StoreUnavailable: no answer, refused or no such bucket."""
        await self._run(self._s3.check)

    # Inner parts

    def _read(self, ref: common_pb2.ObjectRef) -> tuple[bytes, str]:
        """Content and its hash, in one turn of a thread."""
        content = self._s3.get(ref.key, ref.size_bytes)
        return content, sha256_of(content)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        context = contextvars.copy_context()  # log and trace context of the call
        unwanted = threading.Event()
        context.run(UNWANTED.set, unwanted)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, function, *args)
        except asyncio.CancelledError:
            unwanted.set()
            raise

    async def _existing(self, key: str) -> common_pb2.ObjectRef:
        found = await self.stat(key)
        if found is None:
            raise ObjectNotFound("the object does not exist", metadata={"key": key})
        return found

    def _check_bucket(self, ref: common_pb2.ObjectRef) -> None:
        if ref.bucket != self.bucket:
            raise ForeignObject("the object is in another bucket", metadata={"bucket": ref.bucket[:100]})

    async def _pieces(
        self, response: urllib3.BaseHTTPResponse | None, ref: common_pb2.ObjectRef, wanted: int
    ) -> AsyncGenerator[bytes, None]:
        if response is None:
            return
        hasher, missing = hashlib.sha256(), wanted
        try:
            while piece := await self._run(self._s3.read_piece, response):
                hasher.update(piece)
                missing -= len(piece)
                yield piece
        finally:
            response.close()
        if missing or (wanted == ref.size_bytes and hasher.hexdigest() != ref.sha256):
            raise _corrupt(ref)


class _Upload:
    """A multipart upload to a staging key that leaves nothing behind."""

    def __init__(self, store: ObjectStore, tenant: str, media_type: str) -> None:
        self._s3, self._run = store._s3, store._run  # noqa: SLF001  # a part of ObjectStore
        self._key = _staging_key(tenant)
        self._media_type = media_type
        self._upload_id = ""
        self._parts: list[Part] = []
        self._complete = False
        self._step: asyncio.Future[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether the store knows of it."""
        return bool(self._upload_id)

    async def add(self, content: bytes) -> None:
        """Send the next part."""
        await self._whole(self._add(content))

    async def move_to(self, target: common_pb2.ObjectRef) -> None:
        """Put the parts together and copy them to where they belong, with the hash."""
        await self._whole(self._put_together())
        await self._run(self._s3.copy, self._key, target)

    async def discard(self) -> None:
        """Delete what stands at the staging key."""
        if self._step is not None:
            await asyncio.gather(self._step, return_exceptions=True)
        if self._complete:
            await self._run(self._s3.delete, self._key)
        elif self._upload_id:
            await self._run(self._s3.abort_parts, self._key, self._upload_id)

    async def _whole(self, step: Coroutine[Any, Any, None]) -> None:
        """Do a step to its end even when the call is cancelled: a request that is on its way cannot be called back, and
        `discard` must know what came of it.
        """
        self._step = asyncio.ensure_future(step)
        await asyncio.shield(self._step)

    async def _add(self, content: bytes) -> None:
        if not self._upload_id:
            self._upload_id = await self._run(self._s3.begin_parts, self._key, self._media_type)
        number = len(self._parts) + 1
        self._parts.append(await self._run(self._s3.add_part, self._key, self._upload_id, number, content))

    async def _put_together(self) -> None:
        self._complete = True  # from here on there may be an object and not only parts
        await self._run(self._s3.complete_parts, self._key, self._upload_id, self._parts)


def _staging_key(tenant: str) -> str:
    """A key that nobody else uses, below `uploads`, whose lifecycle rule is the backstop after a crash."""
    return keys.upload_key(tenant, f"staging-{uuid.uuid4().hex}")


async def _finish(cleaning: Coroutine[Any, Any, None]) -> None:
    """Run a cleaning to its end even when the call is cancelled; its own failure must not hide the call's."""
    try:
        await asyncio.shield(asyncio.ensure_future(cleaning))
    except VisemaError as error:
        log.warning("cleaning_failed", reason=error.reason, error=error.message)


def _check_claim(ref: common_pb2.ObjectRef, stored: common_pb2.ObjectRef) -> None:
    """Raises: ObjectMismatch: the reference says something else than the object's own headers."""
    if (ref.size_bytes, ref.sha256) != (stored.size_bytes, stored.sha256):
        raise ObjectMismatch(
            "the object has another size or hash than the reference says", metadata={"key": ref.key[:200]}
        )


def _corrupt(ref: common_pb2.ObjectRef) -> ObjectCorrupt:
    return ObjectCorrupt("the object store gave other bytes than were written", metadata={"key": ref.key})


def _too_large(max_bytes: int) -> MediaTooLarge:
    return MediaTooLarge(f"more than {max_bytes} bytes are not accepted here", metadata={"max_bytes": str(max_bytes)})
