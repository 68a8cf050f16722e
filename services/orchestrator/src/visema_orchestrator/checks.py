"""What can be known about a portrait and about speech before a job starts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2
from visema_kit.digest import digest_of
from visema_kit.errors import ImageTooLarge, ObjectMismatch, ObjectNotFound
from visema_kit.keys import check_tenant
from visema_kit.objects import ObjectStore
from visema_media.limits import MEBIBYTE, MediaLimits
from visema_media.speech import Speech, decode_audio

from visema_orchestrator.cache import SharedCache
from visema_orchestrator.stages import Stages

AUDIO_CACHE_BYTES = 64 * MEBIBYTE
PORTRAIT_CACHE_ENTRIES = 4096


class MediaChecks:
    """Checks uploaded media; results are kept by content, so the same file is looked at once."""

    def __init__(self, objects: ObjectStore, stages: Stages, limits: MediaLimits) -> None:
        self._objects = objects
        self._stages = stages
        self._limits = limits
        self._audio: SharedCache[str, Speech] = SharedCache(AUDIO_CACHE_BYTES, lambda audio: len(audio.wav))
        self._portraits: SharedCache[tuple[str, str], portrait_pb2.InspectResponse] = SharedCache(
            PORTRAIT_CACHE_ENTRIES, lambda _: 1
        )
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")

    async def portrait(
        self, request: portrait_pb2.InspectRequest, field: str, timeout_s: float
    ) -> portrait_pb2.InspectResponse:
        """What a portrait shows.

        Raises: ObjectNotFound, ForeignObject, ObjectMismatch, ImageTooLarge, MediaUnreadable, MediaNotAllowed,
            NoFaceFound, SeveralFaces, StageUnavailable; `field` names the request's field.
        """
        ref = request.portrait
        if ref.size_bytes > self._limits.image_bytes:
            raise ImageTooLarge(f"a picture has at most {self._limits.image_bytes} bytes", field=field)
        await self.exists(ref, request.context.tenant, field)
        key = (request.context.tenant, digest_of(ref.sha256, request.face))
        return await self._portraits.get(key, lambda: self._stages.inspect(request, timeout_s))

    async def audio(self, ref: common_pb2.ObjectRef, tenant: str, field: str) -> Speech:
        """Speech as the stages want it.

        Raises: ObjectNotFound, ForeignObject, ObjectMismatch, AudioTooShort, AudioTooLong, MediaUnreadable,
            MediaNotAllowed, StoreUnavailable; `field` names the request's field.
        """
        await self.exists(ref, tenant, field)
        return await self._audio.get(f"{tenant}/{ref.sha256}", lambda: self._decode(ref, tenant))

    async def exists(self, ref: common_pb2.ObjectRef, tenant: str, field: str) -> None:
        """Check a client's reference. Raises: ForeignObject, ObjectNotFound, ObjectMismatch, StoreUnavailable."""
        check_tenant(ref, tenant, self._objects.bucket)
        stored = await self._objects.stat(ref.key)
        if stored is None:
            raise ObjectNotFound("the object does not exist", field=field, metadata={"key": ref.key[:200]})
        if (stored.sha256, stored.size_bytes) != (ref.sha256, ref.size_bytes):
            raise ObjectMismatch(
                "the object has another hash or size than the reference says",
                field=field,
                metadata={"key": ref.key[:200]},
            )

    async def _decode(self, ref: common_pb2.ObjectRef, tenant: str) -> Speech:
        content = await self._objects.get(ref, tenant, self._limits.audio_bytes)
        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode_audio, content, self._limits)

    def close(self) -> None:
        """Stop the threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
