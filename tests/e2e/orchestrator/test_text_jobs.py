"""Text jobs: the speech service is stage 0, with the same retries and the same report."""

# ruff: noqa: ARG002  # gRPC gives the arguments
from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE_S, Client, orchestrator_here, speech_wav
from stage_fakes import FakeStages
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import jobs_pb2
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.errors import StoreUnavailable, VoiceNotFound
from visema_kit.interceptors import CallInterceptor
from visema_kit.keys import job_key
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore
from visema_kit.status import from_status


class FakeSpeech(speech_pb2_grpc.SpeechServiceServicer):
    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.breaks = 1

    async def Synthesize(self, request, context):  # noqa: N802
        if request.voice_id == "unknown":
            raise VoiceNotFound("no such voice", field="voice_id")
        yield speech_pb2.SynthesizeResponse(
            accepted=speech_pb2.SynthesizeAccepted(engine=common_pb2.EngineInfo(name="espeak"))
        )
        if self.breaks:
            self.breaks -= 1
            raise StoreUnavailable("broken as ordered")
        wav = speech_wav(0.1 * len(request.text))
        key = job_key(request.context.tenant, request.context.work_id, "spoken.wav")
        audio = await self.objects.put(key, wav, "audio/wav")
        word = speech_pb2.SpokenWord(word=request.text, start_ms=0, end_ms=100)
        yield speech_pb2.SynthesizeResponse(result=speech_pb2.SynthesizeResult(audio=audio, words=[word]))
        yield speech_pb2.SynthesizeResponse(
            summary=common_pb2.StageReport(engine=common_pb2.EngineInfo(name="espeak"), segment_count=1)
        )


@pytest.fixture
async def speaking(variables: dict[str, str], object_store: ObjectStore) -> AsyncIterator[Client]:
    interceptor = CallInterceptor(Metrics())
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor])
    speech_pb2_grpc.add_SpeechServiceServicer_to_server(FakeSpeech(object_store), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with orchestrator_here({**variables, "VISEMA_SPEECH_ADDRESS": f"127.0.0.1:{port}"}) as address:
        client = Client(address)
        yield client
        await client.close()
    await server.stop(None)


async def test_the_health_of_speech_tells_whether_text_can_be_spoken(speaking: Client, client: Client) -> None:
    request = health_pb2.HealthCheckRequest(service="visema.speech.v1.SpeechService")
    answer = await health_pb2_grpc.HealthStub(speaking.channel).Check(request, timeout=PATIENCE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # one without a speech service
        await health_pb2_grpc.HealthStub(client.channel).Check(request, timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_text_is_spoken_first_and_its_words_reach_the_lips(speaking: Client, stages: FakeStages) -> None:
    spec = jobs_pb2.JobSpec(portrait=await speaking.portrait(), text=jobs_pb2.SpeechText(text="twenty characters :)"))
    ended = await speaking.wait((await speaking.create(spec)).job_id)
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.result.frame_count == 50
    speech = ended.report.stages[0]
    assert (speech.stage, speech.retry_count, speech.report.engine.name) == ("speech", 1, "espeak")
    assert stages.lips.opened[0].words[0].word == spec.text.text


@pytest.mark.parametrize(
    ("text", "voice", "reason"), [("x" * 700, "", "AUDIO_TOO_LONG"), ("hi", "unknown", "VOICE_NOT_FOUND")]
)
async def test_what_only_the_speech_service_can_know_fails_the_job(
    speaking: Client, text: str, voice: str, reason: str
) -> None:
    said = jobs_pb2.SpeechText(text=text, voice_id=voice)
    ended = await speaking.wait(
        (await speaking.create(jobs_pb2.JobSpec(portrait=await speaking.portrait(), text=said))).job_id
    )
    assert ended.state == jobs_pb2.JOB_STATE_FAILED
    assert from_status(ended.error).reason == reason
