"""The services behind the gateway: is the orchestrator serving, and which voices are there."""

from __future__ import annotations

import time
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.channel import TlsFiles, open_channel
from visema_kit.status import from_rpc_error

HEALTH_TIMEOUT_S: Final = 2.0
HEALTH_FRESH_S: Final = 1.0
VOICES_TIMEOUT_S: Final = 5.0
VOICES_IN_A_PAGE: Final = 500


class VoiceView(BaseModel):
    """A voice for text."""

    id: str
    name: str
    languages: list[str]
    engine: str
    license: str


class Peers:
    """Asks the orchestrator for its health and the speech service for its voices."""

    def __init__(self, orchestrator: str, speech: str, tls: TlsFiles | None) -> None:
        self._channels = [open_channel(orchestrator, tls)]
        self._health = health_pb2_grpc.HealthStub(self._channels[0])
        self._speech: speech_pb2_grpc.SpeechServiceAsyncStub | None = None
        if speech:
            self._channels.append(open_channel(speech, tls))
            self._speech = speech_pb2_grpc.SpeechServiceStub(self._channels[1])
        self._known: tuple[float, str] = (-HEALTH_FRESH_S, "")

    @property
    def can_speak(self) -> bool:
        """Whether there is a list of voices."""
        return self._speech is not None

    async def orchestrator_health(self) -> str:
        """`serving`, `not_serving` or `unreachable`; asked at most once a second."""
        at, known = self._known
        if time.monotonic() - at < HEALTH_FRESH_S:
            return known
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
            known = "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not_serving"
        except grpc.aio.AioRpcError:
            known = "unreachable"
        self._known = (time.monotonic(), known)
        return known

    async def voices(self, language: str) -> list[VoiceView]:
        """All voices of a language, or all; none without a speech service. Raises: VisemaError."""
        if self._speech is None:
            return []
        found: list[VoiceView] = []
        token = ""
        while True:
            request = speech_pb2.ListVoicesRequest(language=language, page_size=VOICES_IN_A_PAGE, page_token=token)
            try:
                reply: speech_pb2.ListVoicesResponse = await self._speech.ListVoices(request, timeout=VOICES_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error
            found += [
                VoiceView(
                    id=voice.voice_id,
                    name=voice.display_name,
                    languages=list(voice.languages),
                    engine=voice.engine,
                    license=voice.license,
                )
                for voice in reply.voices
            ]
            token = reply.next_page_token
            if not token:
                return found

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()
