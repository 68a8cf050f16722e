"""Clients of the stage services. The only place where the orchestrator calls gRPC; faults come out as VisemaError."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from visema.encoding.v1 import encoding_pb2, encoding_pb2_grpc
from visema.lipsync.v1 import lipsync_pb2, lipsync_pb2_grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.channel import ending
from visema_kit.errors import StageUnavailable, VisemaError
from visema_kit.status import from_rpc_error

LIVEPORTRAIT, WAV2LIP, ENCODER, SPEECH = "liveportrait", "wav2lip", "encoder", "speech"

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


def _fault(stage: str, error: grpc.aio.AioRpcError) -> VisemaError:
    """The error that a stage sent, with the stage's name."""
    known = from_rpc_error(error)
    if known.metadata.get("grpc_code") == grpc.StatusCode.INTERNAL.name:  # a stage's own fault comes with details
        known = StageUnavailable(error.details() or "the stream broke")  # while something was written to it
    known.metadata.setdefault("stage", stage)
    if isinstance(known, StageUnavailable):
        known.message = f"stage {stage} does not answer: {known.message}"
    return known


class StageStream(Generic[RequestT, ReplyT]):
    """One stream to a stage: replies by iteration, requests by `send`. Made by `Stages`."""

    def __init__(self, stage: str, call: Any) -> None:
        self._stage = stage
        self._call = call

    async def __aiter__(self) -> AsyncIterator[ReplyT]:
        """Replies until the stage ends. Raises: VisemaError."""
        try:
            async for reply in self._call:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise _fault(self._stage, error) from error
        except grpc.aio.InternalError as error:  # gRPC notices in the middle of an operation that the stage is gone
            text = f"stage {self._stage} does not answer: the stream broke"
            raise StageUnavailable(text, metadata={"stage": self._stage}) from error

    async def send(self, request: RequestT) -> bool:
        """Send a request. Returns: False when the stream has ended; reading the replies tells why."""
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            return False
        return True

    async def half_close(self) -> None:
        """Say that no request follows."""
        with suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            await self._call.done_writing()


@dataclass(frozen=True)
class StageChannels:
    """Channels to the stage services; `speech` is None where text is not offered."""

    liveportrait: grpc.aio.Channel
    wav2lip: grpc.aio.Channel
    encoder: grpc.aio.Channel
    speech: grpc.aio.Channel | None


class Stages:
    """The stage services of this installation. A stream that is left is cancelled, and the stage stops its work."""

    def __init__(self, channels: StageChannels) -> None:
        self._portrait = portrait_pb2_grpc.PortraitAnimationServiceStub(channels.liveportrait)
        self._lipsync = lipsync_pb2_grpc.LipSyncServiceStub(channels.wav2lip)
        self._encoding = encoding_pb2_grpc.EncodingServiceStub(channels.encoder)
        self._speech = speech_pb2_grpc.SpeechServiceStub(channels.speech) if channels.speech else None

    @property
    def can_speak(self) -> bool:
        """Whether a speech service is configured."""
        return self._speech is not None

    async def inspect(self, request: portrait_pb2.InspectRequest, timeout_s: float) -> portrait_pb2.InspectResponse:
        """Find the faces of a portrait. Raises: VisemaError."""
        return await _answer(LIVEPORTRAIT, self._portrait.Inspect(request, timeout=timeout_s))

    async def describe_animation(self, timeout_s: float) -> portrait_pb2.DescribeResponse:
        """The engine of the animation service. Raises: VisemaError."""
        return await _answer(LIVEPORTRAIT, self._portrait.Describe(portrait_pb2.DescribeRequest(), timeout=timeout_s))

    async def describe_speech(self, timeout_s: float) -> speech_pb2.DescribeResponse:
        """The engine of the speech service. Raises: VisemaError; StageUnavailable: none is configured."""
        return await _answer(SPEECH, self._speaking().Describe(speech_pb2.DescribeRequest(), timeout=timeout_s))

    async def list_voices(
        self, request: speech_pb2.ListVoicesRequest, timeout_s: float
    ) -> speech_pb2.ListVoicesResponse:
        """The voices of the speech service. Raises: VisemaError; StageUnavailable: none is configured."""
        return await _answer(SPEECH, self._speaking().ListVoices(request, timeout=timeout_s))

    @asynccontextmanager
    async def animate(
        self, request: portrait_pb2.AnimateRequest, timeout_s: float
    ) -> AsyncIterator[StageStream[None, portrait_pb2.AnimateResponse]]:
        """Stage 1."""
        with ending(self._portrait.Animate(request, timeout=timeout_s)) as call:
            yield StageStream(LIVEPORTRAIT, call)

    @asynccontextmanager
    async def sync(
        self, timeout_s: float
    ) -> AsyncIterator[StageStream[lipsync_pb2.SyncRequest, lipsync_pb2.SyncResponse]]:
        """Stage 2."""
        with ending(self._lipsync.Sync(timeout=timeout_s)) as call:
            yield StageStream(WAV2LIP, call)

    @asynccontextmanager
    async def encode(
        self, timeout_s: float
    ) -> AsyncIterator[StageStream[encoding_pb2.EncodeRequest, encoding_pb2.EncodeResponse]]:
        """Stage 3."""
        with ending(self._encoding.Encode(timeout=timeout_s)) as call:
            yield StageStream(ENCODER, call)

    @asynccontextmanager
    async def synthesize(
        self, request: speech_pb2.SynthesizeRequest, timeout_s: float
    ) -> AsyncIterator[StageStream[None, speech_pb2.SynthesizeResponse]]:
        """Stage 0. Raises: StageUnavailable: no speech service is configured."""
        with ending(self._speaking().Synthesize(request, timeout=timeout_s)) as call:
            yield StageStream(SPEECH, call)

    def _speaking(self) -> Any:
        if self._speech is None:
            raise StageUnavailable("no speech service is configured", metadata={"stage": SPEECH})
        return self._speech


async def _answer(stage: str, call: Awaitable[ReplyT]) -> ReplyT:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _fault(stage, error) from error
