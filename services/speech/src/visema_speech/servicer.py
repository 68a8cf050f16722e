"""SpeechService: protos to scripts, results to protos."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice
from typing import Any

import grpc
from visema.common.v1 import common_pb2
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit import keys
from visema_kit.clock import StageClock
from visema_kit.errors import DeadlineExceeded, InvalidInput
from visema_kit.metrics import Metrics
from visema_kit.streams import StreamSlots, ended_after

from visema_speech.engines.protocol import EngineDescription, Voice
from visema_speech.paging import page_start, token_after
from visema_speech.pipeline import SentencesDone, SpeechPipeline
from visema_speech.script import SpeechScript, write_script
from visema_speech.settings import SpeechSettings
from visema_speech.text.cleaning import clean
from visema_speech.voices import Voices

STAGE = "speech"
SERVICE = speech_pb2.DESCRIPTOR.services_by_name["SpeechService"].full_name
LONGEST_TEXT = 5000  # characters, as the proto says
SLOWEST, FASTEST = 0.5, 2.0
DEFAULT_PAGE, LARGEST_PAGE = 100, 500
_BUSY_RETRY_S = 0.5

Context = grpc.aio.ServicerContext[Any, Any]


class SpeechServicer(speech_pb2_grpc.SpeechServiceServicer):
    """Serves speech. `voices` is set once the engines are loaded, which is before the service is SERVING."""

    def __init__(self, pipeline: SpeechPipeline, settings: SpeechSettings, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._metrics = metrics
        self._slots = StreamSlots(settings.max_streams, _BUSY_RETRY_S)
        self._voices: Voices | None = None
        self._degraded_reason = ""

    def use(self, voices: Voices, degraded_reason: str) -> None:
        """Speak with these voices. Args: degraded_reason: why better ones cannot speak here; empty if they do."""
        self._voices = voices
        self._degraded_reason = degraded_reason

    @property
    def voices(self) -> Voices:
        """The voices. Raises: RuntimeError: the engines are not loaded; the interceptor lets no call through then."""
        if self._voices is None:
            raise RuntimeError("the engines are not loaded")
        return self._voices

    async def Describe(  # noqa: N802  # the RPC's name
        self, _request: speech_pb2.DescribeRequest, _context: Context
    ) -> speech_pb2.DescribeResponse:
        """The engine of the default voice."""
        return speech_pb2.DescribeResponse(engine=self._engine_info(self.voices.default))

    async def ListVoices(  # noqa: N802  # the RPC's name
        self, request: speech_pb2.ListVoicesRequest, _context: Context
    ) -> speech_pb2.ListVoicesResponse:
        """Voices by id, in pages."""
        if request.page_size < 0:
            raise InvalidInput("The page size is negative.", field="page_size")
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        after = page_start(request.page_token, request.language)
        found = list(islice(self.voices.listed(request.language, after), size + 1))
        token = token_after(found[size - 1].voice_id, request.language) if len(found) > size else ""
        return speech_pb2.ListVoicesResponse(voices=map(voice_proto, found[:size]), next_page_token=token)

    async def Synthesize(  # noqa: N802  # the RPC's name
        self, request: speech_pb2.SynthesizeRequest, _context: Context
    ) -> AsyncGenerator[speech_pb2.SynthesizeResponse, None]:
        """Speak a text; see the proto for the order of replies."""
        limit_s = self._settings.speech_time_limit_s

        def too_late() -> DeadlineExceeded:
            return DeadlineExceeded(f"The text was not spoken after {limit_s:g} s.")

        async with aclosing(ended_after(limit_s, self._synthesize(request), too_late)) as replies:
            async for reply in replies:
                yield reply

    async def _synthesize(
        self, request: speech_pb2.SynthesizeRequest
    ) -> AsyncGenerator[speech_pb2.SynthesizeResponse, None]:
        with self._slots.taken():
            tenant = keys.check_tenant_name(request.context.tenant)
            script = script_of(request, self.voices)
            engine = self._engine_info(script.voice)
            with StageClock(STAGE, engine, self._metrics) as clock:
                for warning in script.warnings:
                    clock.warn(warning)
                accepted = speech_pb2.SynthesizeAccepted(engine=engine, voice=voice_proto(script.voice))
                yield speech_pb2.SynthesizeResponse(accepted=accepted)
                speaking = self._pipeline.speak(tenant, script, self.voices.engine_of(script.voice), clock)
                async with aclosing(speaking) as events:
                    async for event in events:
                        yield _reply(event)
                yield speech_pb2.SynthesizeResponse(summary=clock.report())

    def _engine_info(self, voice: Voice) -> common_pb2.EngineInfo:
        description = self.voices.engine_of(voice).describe()
        return engine_info(description, voice, self._degraded_reason)


def engine_info(engine: EngineDescription, voice: Voice, degraded_reason: str) -> common_pb2.EngineInfo:
    """What an engine is that speaks with a voice, for Describe and reports."""
    return common_pb2.EngineInfo(
        name=engine.name,
        version=engine.version,
        model_license=voice.license,
        weights_sha256=voice.weights_sha256,
        device=engine.device,
        degraded=bool(degraded_reason),
        degraded_reason=degraded_reason,
        capabilities=engine.capabilities,
    )


def voice_proto(voice: Voice) -> speech_pb2.Voice:
    """A voice as the proto has it."""
    return speech_pb2.Voice(
        voice_id=voice.voice_id,
        display_name=voice.display_name,
        languages=voice.languages,
        engine=voice.engine,
        license=voice.license,
    )


def script_of(request: speech_pb2.SynthesizeRequest, voices: Voices) -> SpeechScript:
    """The request as a script.

    Raises: InvalidInput: a field cannot be used. VoiceNotFound, CheckpointMissing: there is no such voice here.
    """
    if len(request.text) > LONGEST_TEXT:
        raise InvalidInput(
            f"The text has {len(request.text)} characters; at most {LONGEST_TEXT} are spoken.",
            field="text",
            metadata={"limit": str(LONGEST_TEXT)},
        )
    text = clean(request.text)
    if not text.is_speakable:
        raise InvalidInput("There is nothing in the text that can be spoken.", field="text")
    rate = request.speaking_rate if request.HasField("speaking_rate") else 1.0
    if not math.isfinite(rate) or not SLOWEST <= rate <= FASTEST:
        raise InvalidInput(f"The speaking rate is not between {SLOWEST:g} and {FASTEST:g}.", field="speaking_rate")
    voice = voices.find(request.voice_id) if request.voice_id else voices.for_text(text.text)
    return write_script(text, voice, rate, voices)


def _reply(event: SentencesDone | speech_pb2.SynthesizeResult) -> speech_pb2.SynthesizeResponse:
    if isinstance(event, SentencesDone):
        progress = common_pb2.StageProgress(frames_done=event.done, frames_total=event.total)
        return speech_pb2.SynthesizeResponse(progress=progress)
    return speech_pb2.SynthesizeResponse(result=event)
