"""MediaService: files come in and videos go out."""

# ruff: noqa: ARG002, N802  # gRPC gives the names and the arguments
from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import media_pb2, media_pb2_grpc
from visema_kit.auth import current_tenant
from visema_kit.digest import sha256_of
from visema_kit.errors import (
    AudioTooLong,
    DeadlineExceeded,
    ImageTooLarge,
    InvalidInput,
    MediaTooLarge,
    ObjectMismatch,
    VisemaError,
)
from visema_kit.keys import media_key, upload_key
from visema_kit.objects import ObjectStore
from visema_media.limits import MediaLimits
from visema_media.sniff import MediaFormat, sniff

from visema_orchestrator.ids import new_id
from visema_orchestrator.store import media
from visema_orchestrator.store.database import Database, now_us
from visema_orchestrator.store.jobs import timestamp
from visema_orchestrator.store.tables import UploadRow

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

PORTRAIT, AUDIO = media_pb2.MEDIA_KIND_PORTRAIT, media_pb2.MEDIA_KIND_AUDIO
UPLOADS_AT_ONCE = 8  # each holds its file in memory until its hash is known
# Of a file that comes, for whose turn others wait: the largest chunk at 17 kB/s, 25 MiB at 44 kB/s.
LONGEST_PAUSE_S, LONGEST_UPLOAD_S = 60.0, 600.0
LARGEST_CHUNK_BYTES = 1 << 20
UNKNOWN_TYPE = "application/octet-stream"
MEDIA_TYPES = {
    MediaFormat.JPEG: "image/jpeg",
    MediaFormat.PNG: "image/png",
    MediaFormat.WEBP: "image/webp",
    MediaFormat.WAV: "audio/wav",
    MediaFormat.MP3: "audio/mpeg",
    MediaFormat.FLAC: "audio/flac",
    MediaFormat.OGG: "audio/ogg",
    MediaFormat.MP4: "audio/mp4",
}


@dataclass(frozen=True)
class MediaServicer(media_pb2_grpc.MediaServiceServicer):
    """Brings pictures and audio in, and videos out. Contents are judged by CreateJob, sizes here."""

    database: Database
    objects: ObjectStore
    limits: MediaLimits
    upload_lifetime_s: int
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))

    async def CreateUpload(
        self, request: media_pb2.CreateUploadRequest, context: Context
    ) -> media_pb2.CreateUploadResponse:
        """Give an address for HTTP PUT."""
        limit = self._limit(request.kind, "kind")
        tenant, upload_id = current_tenant(), new_id()
        expire_us = now_us() + self.upload_lifetime_s * 1_000_000
        key = upload_key(tenant, upload_id)
        url = await self.objects.presign_put(key, self.upload_lifetime_s)
        # Kept for a lifetime more: the file may have come in the last moment.
        row = UploadRow(
            upload_id=upload_id,
            tenant=tenant,
            kind=request.kind,
            key=key,
            expire_us=expire_us + self.upload_lifetime_s * 1_000_000,
            object=None,
        )
        await self.database.write(media.add_upload, row)
        return media_pb2.CreateUploadResponse(
            upload_id=upload_id, upload_url=url, expire_time=timestamp(expire_us), max_size_bytes=limit
        )

    async def CompleteUpload(
        self, request: media_pb2.CompleteUploadRequest, context: Context
    ) -> media_pb2.CompleteUploadResponse:
        """Take over a file that was sent to an upload address; asked again, the answer is the same."""
        tenant = current_tenant()
        upload = await self.database.read(media.get_upload, tenant, request.upload_id)
        if upload.object is not None:
            return media_pb2.CompleteUploadResponse(object=common_pb2.ObjectRef.FromString(upload.object))
        limit = self._limit(upload.kind, "upload_id")
        try:
            ref = await self.objects.adopt(upload.key, media_key(tenant, upload.upload_id), media_type_of, limit)
        except MediaTooLarge as error:
            raise _too_large(upload.kind, limit) from error
        await self.database.write(media.touch, tenant, media.MEDIA, ref.key)
        await self.database.write(media.complete_upload, upload.upload_id, ref)
        return media_pb2.CompleteUploadResponse(object=ref)

    async def Upload(
        self, request_iterator: AsyncIterator[media_pb2.UploadRequest], context: Context
    ) -> media_pb2.UploadResponse:
        """Store a file that comes in pieces; the same content is stored once."""
        tenant = current_tenant()
        async with self._turns:
            content = await self._receive(request_iterator)
            sha256 = sha256_of(content)
            ref = await self.objects.put(media_key(tenant, sha256), content, media_type_of(content))
        await self.database.write(media.touch, tenant, media.MEDIA, ref.key)
        return media_pb2.UploadResponse(object=ref)

    async def Download(
        self, request: media_pb2.DownloadRequest, context: Context
    ) -> AsyncIterator[media_pb2.DownloadResponse]:
        """Send an object or a part of it."""
        pieces = await self.objects.iter_range(
            request.object, current_tenant(), request.offset_bytes, request.length_bytes
        )
        async with aclosing(pieces):
            yield media_pb2.DownloadResponse(object=request.object)
            async for piece in pieces:
                yield media_pb2.DownloadResponse(chunk=piece)

    async def _receive(self, request_iterator: AsyncIterator[media_pb2.UploadRequest]) -> bytes:
        requests = _timely(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("event") != "header":
            raise InvalidInput("the first request must be the header", field="header")
        header = first.header
        limit = self._limit(header.kind, "header.kind")
        if header.size_bytes > limit:
            raise _too_large(header.kind, limit)
        content = io.BytesIO()  # gives its bytes without a copy
        async for request in requests:
            if request.WhichOneof("event") != "chunk" or len(request.chunk) > LARGEST_CHUNK_BYTES:
                raise InvalidInput("after the header come chunks of at most 1 MiB", field="chunk")
            content.write(request.chunk)
            if content.tell() > limit:
                raise _too_large(header.kind, limit)
        if not content.tell():
            raise InvalidInput("the file is empty", field="chunk")
        received = content.getvalue()
        if header.size_bytes and header.size_bytes != len(received):
            raise ObjectMismatch(f"{len(received)} bytes came, {header.size_bytes} were announced", field="header")
        if header.sha256 and header.sha256 != sha256_of(received):
            raise ObjectMismatch("the file has another hash than was announced", field="header.sha256")
        return received

    def _limit(self, kind: int, field_name: str) -> int:
        limits: dict[int, int] = {PORTRAIT: self.limits.image_bytes, AUDIO: self.limits.audio_bytes}
        if kind not in limits:
            raise InvalidInput("the kind is a portrait or audio", field=field_name)
        return limits[kind]


def media_type_of(content: bytes) -> str:
    """What a file is by its first bytes; whatever a client says of it counts for nothing."""
    return MEDIA_TYPES.get(sniff(content), UNKNOWN_TYPE)


async def _timely(requests: AsyncIterator[media_pb2.UploadRequest]) -> AsyncIterator[media_pb2.UploadRequest]:
    """What the client sends. Raises: DeadlineExceeded: it pauses, or takes too long in all."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + LONGEST_UPLOAD_S
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + LONGEST_PAUSE_S, end_s)):
                request = await anext(requests, None)
        except TimeoutError as err:
            raise DeadlineExceeded("the file came too slowly") from err
        if request is None:
            return
        yield request


def _too_large(kind: int, limit: int) -> VisemaError:
    error = ImageTooLarge if kind == PORTRAIT else AudioTooLong
    return error(f"the file has more than {limit} bytes", metadata={"limit_bytes": str(limit)})
