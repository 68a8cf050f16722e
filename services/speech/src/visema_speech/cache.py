"""Speech that was spoken before, in the object store: it survives restarts and is shared by all replicas.

The sound of the same script differs in a few samples from time to time, so the audio's key names its content, and a
small object whose key names the script tells which audio it is. Two replicas that speak the same at once do no harm.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from visema.common.v1 import common_pb2
from visema.speech.v1 import speech_pb2
from visema_kit import keys
from visema_kit.clock import StageClock
from visema_kit.digest import sha256_of
from visema_kit.errors import ObjectCorrupt, ObjectMismatch, ObjectNotFound
from visema_kit.logs import get_logger
from visema_kit.objects import ObjectStore

AUDIO_TYPE = "audio/wav"
_RESULT_TYPE = "application/x-protobuf"
_RESULT_NAME = "result.binpb"
_RESULT_LIMIT_BYTES = 4 << 20

log = get_logger(__name__)


class SpeechCache:
    """Results by the digest of their script, for each tenant apart."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def find(self, tenant: str, digest: str, clock: StageClock) -> speech_pb2.SynthesizeResult | None:
        """The result with `cached` set; None when there is none, or when its audio is gone."""
        with clock.storage():
            known = await self._store.stat(_key(tenant, digest, _RESULT_NAME))
            if known is None:
                return None
            try:
                content = await self._store.get(known, tenant, _RESULT_LIMIT_BYTES)
                result = speech_pb2.SynthesizeResult.FromString(content)
            except (ObjectNotFound, ObjectMismatch, ObjectCorrupt, DecodeError) as error:
                log.warning("cached_speech_unusable", why=str(error))  # replaced or deleted meanwhile: speak anew
                return None
            clock.bytes_read(len(content))
            if await self._store.stat(result.audio.key) != result.audio:
                return None
        result.cached = True
        return result

    async def put_audio(self, tenant: str, digest: str, wav: bytes, clock: StageClock) -> common_pb2.ObjectRef:
        """Store the sound."""
        with clock.storage():
            audio = await self._store.put(_key(tenant, digest, f"{sha256_of(wav)}.wav"), wav, AUDIO_TYPE)
        clock.bytes_written(len(wav))
        return audio

    async def put_result(
        self, tenant: str, digest: str, result: speech_pb2.SynthesizeResult, clock: StageClock
    ) -> None:
        """Remember a result whose audio is stored."""
        content = result.SerializeToString(deterministic=True)
        with clock.storage():
            await self._store.put(_key(tenant, digest, _RESULT_NAME), content, _RESULT_TYPE)
        clock.bytes_written(len(content))


def _key(tenant: str, digest: str, name: str) -> str:
    """`media/<tenant>/speech-<digest>/<name>`."""
    return keys.object_key("media", tenant, f"speech-{digest}", name)
