"""Stage 0: lets the speech service speak a job's text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from visema.common.v1 import common_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import jobs_pb2
from visema.speech.v1 import speech_pb2
from visema_kit.errors import StageUnavailable

from visema_orchestrator.retry import RetryPolicy, StageAttempts
from visema_orchestrator.stages import SPEECH, Stages
from visema_orchestrator.timeline import StageTimes


@dataclass
class Spoken:
    """What the speech service made."""

    times: StageTimes
    audio: common_pb2.ObjectRef | None = None
    words: list[lipsync_pb2.WordTiming] = field(default_factory=list)


async def speak(
    stages: Stages,
    policy: RetryPolicy,
    context: common_pb2.WorkContext,
    text: jobs_pb2.SpeechText,
    *,
    job_start_s: float,
    deadline_s: float,
) -> Spoken:
    """Speak `text`. Raises: VisemaError."""
    request = speech_pb2.SynthesizeRequest(context=context, text=text.text, voice_id=text.voice_id)
    if text.HasField("speaking_rate"):
        request.speaking_rate = text.speaking_rate
    spoken = Spoken(StageTimes(SPEECH, job_start_s))
    attempts = StageAttempts(policy)

    async def attempt() -> None:
        spoken.times.retry_count = attempts.retry_count
        async with stages.synthesize(request, max(deadline_s - time.monotonic(), 0.001)) as stream:
            async for reply in stream:
                match reply.WhichOneof("event"):
                    case "accepted":
                        spoken.times.engine = reply.accepted.engine
                    case "result":
                        spoken.times.segment()
                        spoken.audio = reply.result.audio
                        spoken.words = [
                            lipsync_pb2.WordTiming(word=word.word, start_ms=word.start_ms, end_ms=word.end_ms)
                            for word in reply.result.words
                        ]
                    case "summary":
                        spoken.times.report = reply.summary
        if spoken.audio is None:
            raise StageUnavailable("the speech service ended without a result", metadata={"stage": SPEECH})

    spoken.times.start()
    await attempts.run(attempt, lambda: int(spoken.audio is not None))
    spoken.times.end()
    return spoken
