"""What the orchestrator says about its health, asked at most once a second."""

from __future__ import annotations

import time
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from visema_kit.channel import TlsFiles, open_channel

TIMEOUT_S: Final = 2.0
FRESH_S: Final = 1.0
SPEECH: Final = "visema.speech.v1.SpeechService"  # it serves this one where it has a speech service


class OrchestratorHealth:
    """Asks the orchestrator. Make it on the event loop that shall run it."""

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self._channel = open_channel(address, tls)
        self._stub = health_pb2_grpc.HealthStub(self._channel)
        self._known: dict[str, tuple[float, str]] = {}

    async def overall(self) -> str:
        """`serving`, `not_serving` or `unreachable`."""
        return await self._state(health.OVERALL_HEALTH)

    async def can_speak(self) -> bool:
        """Whether text can be spoken."""
        return await self._state(SPEECH) == "serving"

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _state(self, service: str) -> str:
        asked_s, state = self._known.get(service, (-FRESH_S, ""))
        if time.monotonic() - asked_s < FRESH_S:
            return state
        try:
            answer = await self._stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            state = "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not_serving"
        except grpc.aio.AioRpcError as error:
            state = "not_serving" if error.code() is grpc.StatusCode.NOT_FOUND else "unreachable"
        self._known[service] = (time.monotonic(), state)
        return state
