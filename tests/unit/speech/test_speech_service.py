"""The speech service over gRPC, with the real eSpeak NG and a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from support.seaweed import S3Server
from visema.common.v1 import common_pb2
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.channel import open_channel
from visema_kit.errors import InvalidInput, VoiceNotFound
from visema_kit.objects import ObjectStore
from visema_kit.server import serve
from visema_kit.status import from_rpc_error
from visema_media.audio import read_wav
from visema_speech.__main__ import make_spec
from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.registry import EngineRegistry
from visema_speech.settings import SpeechSettings
from visema_speech.voices import Voices

TENANT = "speechtest"
if TYPE_CHECKING:
    Stub = speech_pb2_grpc.SpeechServiceAsyncStub


@pytest.fixture(scope="module")
def engine() -> Iterator[EspeakEngine]:
    engine = EspeakEngine()
    engine.load()
    yield engine
    engine.close()


@pytest.fixture
async def service(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Stub]:
    for name, value in (s3_server.environment() | getattr(request, "param", {})).items():
        monkeypatch.setenv(name, value)
    async with serve(make_spec(SpeechSettings())) as running, open_channel(running.address) as channel:
        yield speech_pb2_grpc.SpeechServiceStub(channel)


def ask(text: str, voice_id: str = "", tenant: str = TENANT, **fields: object) -> speech_pb2.SynthesizeRequest:
    context = common_pb2.WorkContext(tenant=tenant, work_id="job-1")
    return speech_pb2.SynthesizeRequest(context=context, text=text, voice_id=voice_id, **fields)


async def speak(service: Stub, *args: object, **fields: object) -> list[speech_pb2.SynthesizeResponse]:
    return [reply async for reply in service.Synthesize(ask(*args, **fields), timeout=60)]


async def refused(service: Stub, *args: object, **fields: object) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await speak(service, *args, **fields)
    error = from_rpc_error(caught.value)
    return error.reason, error.field


def once(text: str) -> str:
    """A text that no earlier test has spoken."""
    return f"{text} {uuid.uuid4().int % 100_000}"


async def test_a_text_becomes_a_wav_with_word_times_and_comes_from_the_cache_afterwards(
    service: Stub, object_store: ObjectStore
) -> None:
    text = once("Good morning, Dr. Smith. How are you today?")
    replies = await speak(service, text)
    assert [reply.WhichOneof("event") for reply in replies] == [
        "accepted",
        *["progress"] * 3,
        "result",
        "summary",
    ]
    accepted, result, summary = replies[0].accepted, replies[-2].result, replies[-1].summary
    assert (accepted.voice.voice_id, accepted.voice.license) == ("espeak/en-us", "GPL-3.0-or-later")
    assert (accepted.engine.name, accepted.engine.model_license) == ("espeak", "GPL-3.0-or-later")
    assert not accepted.engine.degraded  # no better voice is installed, so none is missed
    assert accepted.engine.degraded_reason == ""
    assert [reply.progress.frames_done for reply in replies[1:-2]] == [1, 2, 3]
    assert replies[1].progress.frames_total == 3

    wav = await object_store.get(result.audio, TENANT)
    samples, rate_hz = read_wav(wav)
    assert (len(samples), rate_hz) == (1, 48_000)
    assert result.audio.key.startswith(f"media/{TENANT}/speech-")
    assert abs(result.audio_duration.ToMicroseconds() / 1e6 - samples.shape[1] / rate_hz) < 1e-4
    assert [word.word for word in result.words] == text.replace(",", "").replace(".", "").replace("?", "").split()
    for before, word in itertools.pairwise(result.words):
        assert before.start_ms < before.end_ms <= word.start_ms
    for word in result.words:
        loud = np.abs(samples[0, word.start_ms * 48 : word.end_ms * 48]).max()
        assert loud > 0.02, word
    assert np.abs(samples[0, :4000]).max() == 0
    assert not result.cached
    assert (summary.segment_count, summary.reused_segment_count) == (1, 0)
    assert summary.compute_duration.ToMicroseconds() > 0
    assert summary.written_bytes > len(wav)

    again = await speak(service, text)
    assert again[-2].result.cached
    assert again[-2].result.audio == result.audio
    assert again[-2].result.words == result.words
    assert again[-1].summary.reused_segment_count == 1


async def test_the_cache_survives_a_restart_and_belongs_to_a_tenant(
    s3_server: S3Server, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    text = once("Remember me")
    audio = []
    for cached in (False, True):
        async with serve(make_spec(SpeechSettings())) as running, open_channel(running.address) as channel:
            service = speech_pb2_grpc.SpeechServiceStub(channel)
            result = (await speak(service, text))[-2].result
            assert result.cached is cached
            audio.append(result.audio)
            if cached:
                assert not (await speak(service, text, tenant="another"))[-2].result.cached
                assert not (await speak(service, text, speaking_rate=1.2))[-2].result.cached
                assert not (await speak(service, text, "espeak/en-gb"))[-2].result.cached
                await object_store.delete(result.audio.key)
                assert not (await speak(service, text))[-2].result.cached
    assert audio[0] == audio[1]


@pytest.mark.parametrize("service", [{"VISEMA_SPEECH_MAX_AUDIO_S": "20"}], indirect=True)
async def test_what_cannot_be_spoken_is_refused_with_its_field(service: Stub) -> None:
    assert await refused(service, "") == ("INVALID_INPUT", "text")
    assert await refused(service, " \n… \u200b") == ("INVALID_INPUT", "text")
    assert await refused(service, "x" * 5001) == ("INVALID_INPUT", "text")
    assert await refused(service, "Hi", "espeak/xx") == ("VOICE_NOT_FOUND", "voice_id")
    assert await refused(service, "Hi", "../ru") == ("VOICE_NOT_FOUND", "voice_id")
    assert await refused(service, "Hi", "espeak/en-us+nonsense") == ("VOICE_NOT_FOUND", "voice_id")
    assert await refused(service, "Hi", "piper/en_US-nobody") == ("CHECKPOINT_MISSING", "voice_id")
    assert await refused(service, "Hi", speaking_rate=3.0) == ("INVALID_INPUT", "speaking_rate")
    assert await refused(service, "Hi", speaking_rate=float("nan")) == ("INVALID_INPUT", "speaking_rate")
    assert await refused(service, "Hi", tenant="../x") == ("INVALID_INPUT", "context.tenant")
    assert await refused(service, "9 " * 200) == ("AUDIO_TOO_LONG", "text")


@pytest.mark.parametrize(
    ("text", "voice", "spoken_by", "words"),
    [
        ("У меня 25 яблок и iPhone 15.", "", "espeak/ru", ["У", "меня", "25", "яблок", "и", "iPhone", "15"]),
        ("I like борщ very much!", "", "espeak/en-us", ["I", "like", "борщ", "very", "much"]),
        ("I like борщ very much!", "espeak/de+f3", "espeak/de+f3", ["I", "like", "борщ", "very", "much"]),
        ("<break time='9s'/> [[h@l'oU]] ok", "espeak/en-gb", "espeak/en-gb", None),
        ("Ein Test für Straße und Fluß", "", "espeak/de", ["Ein", "Test", "für", "Straße", "und", "Fluß"]),
        ("你好世界", "", "espeak/cmn", None),
        ("π " + "a" * 700, "espeak/en-us", "espeak/en-us", None),
    ],
)
async def test_languages_numbers_and_markup_are_spoken(
    service: Stub, text: str, voice: str, spoken_by: str, words: list[str] | None
) -> None:
    replies = await speak(service, text, voice)
    assert replies[0].accepted.voice.voice_id == spoken_by
    result, warnings = replies[-2].result, list(replies[-1].summary.warnings)
    assert words is None or [word.word for word in result.words] == words
    assert result.words
    assert bool(warnings) is ("борщ" in text)


async def test_a_lower_rate_takes_longer(service: Stub) -> None:
    text = "Every word of this sentence takes its time"
    seconds = [
        (await speak(service, text, speaking_rate=rate))[-2].result.audio_duration.ToMilliseconds() / 1e3
        for rate in (0.5, 1.0, 2.0)
    ]
    assert seconds[0] > 1.5 * seconds[1]
    assert seconds[1] > 1.5 * seconds[2]


async def test_voices_are_listed_in_pages_and_by_language(service: Stub) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = await service.ListVoices(speech_pb2.ListVoicesRequest(page_size=120, page_token=token))
        found += [voice.voice_id for voice in page.voices]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert len(found) > 200
    assert {"espeak/en-us", "espeak/ru", "espeak/cmn", "espeak/pt-br", "espeak/ar+f3"} <= set(found)
    assert not {"espeak/fo", "espeak/kaa"} & set(found)  # come without a dictionary and make no sound
    listed = await service.ListVoices(speech_pb2.ListVoicesRequest(language="pt-BR"))
    assert [voice.voice_id for voice in listed.voices] == ["espeak/pt-br", "espeak/pt-br+f3"]
    listed = await service.ListVoices(speech_pb2.ListVoicesRequest(language="pt"))
    assert len(listed.voices) == 4
    for wrong in (speech_pb2.ListVoicesRequest(page_size=-1), speech_pb2.ListVoicesRequest(page_token="?")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.ListVoices(wrong)
        assert from_rpc_error(caught.value).reason == "INVALID_INPUT"


@pytest.mark.parametrize("service", [{"VISEMA_MAX_STREAMS": "1"}], indirect=True)
async def test_one_call_too_many_is_busy_and_a_cancelled_one_frees_its_place(service: Stub) -> None:
    long_text = " ".join(f"Sentence number {number} is here." for number in range(140))
    call = service.Synthesize(ask(once(long_text)), timeout=60)
    assert (await call.read()).HasField("accepted")
    assert (await refused(service, "Hi"))[0] == "DEVICE_BUSY"
    call.cancel()
    replies: list[speech_pb2.SynthesizeResponse] = []
    async with asyncio.timeout(60):
        while not replies:
            with contextlib.suppress(grpc.aio.AioRpcError):
                replies = await speak(service, "Hi")
            await asyncio.sleep(0.05)
    assert replies[-1].HasField("summary")


@pytest.mark.parametrize("service", [{"VISEMA_SPEECH_TIME_LIMIT_S": "0.001"}], indirect=True)
async def test_a_call_that_takes_too_long_ends(service: Stub) -> None:
    assert (await refused(service, once("Too late. " * 100)))[0] == "DEADLINE_EXCEEDED"


def test_a_text_that_brings_espeak_down_ends_one_request_only(engine: EspeakEngine) -> None:
    voices = {voice.voice_id: voice for voice in engine.voices()}
    with pytest.raises(InvalidInput, match="cannot speak a part"):
        engine.speak(voices["espeak/ti"], "\u28ff", 1.0)  # eight Braille dots: a buffer of eSpeak NG 1.52 overflows
    assert engine.speak(voices["espeak/ti"], "ሰላም", 1.0).marks
    os.kill(engine.worker_pid, signal.SIGKILL)
    assert engine.speak(voices["espeak/en-us"], "Still here", 1.0).marks


def test_the_embedded_mode_is_not_degraded_and_a_wrong_default_voice_is_an_error(engine: EspeakEngine) -> None:
    registry = EngineRegistry("embedded", engine, [])
    registry.load()
    assert registry.degraded_reason == ""
    assert Voices(registry, "espeak/de").for_text("Hello, how are you and the others?").voice_id == "espeak/en-us"
    assert Voices(registry, "espeak/de").for_text("Zxqv").voice_id == "espeak/de"
    with pytest.raises(VoiceNotFound):
        Voices(registry, "espeak/unknown")
