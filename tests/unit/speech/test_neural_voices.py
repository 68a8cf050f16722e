"""Neural voices of the Piper format, with a network of a few hundred bytes and the real ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.seaweed import S3Server
from support.small_voice import PHONEME_SAMPLES, RATE_HZ, write_voice
from visema.common.v1 import common_pb2
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.channel import open_channel
from visema_kit.errors import CheckpointMissing
from visema_kit.objects import ObjectStore
from visema_kit.server import serve
from visema_kit.status import from_rpc_error
from visema_kit.voices_store import VoiceFolder
from visema_media.audio import read_wav
from visema_speech.__main__ import make_spec
from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.piper.description import VoiceDescription, spoken_phonemes
from visema_speech.engines.piper.engine import PiperEngine
from visema_speech.settings import SpeechSettings

TENANT = "neuralvoices"
VOICE = "piper/en_US-tones-low"


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A checkpoint folder with one voice of one speaker and one of two."""
    folder = tmp_path / "checkpoints"
    VoiceFolder(folder).import_voice(write_voice(tmp_path), "CC-BY-4.0")
    VoiceFolder(folder).import_voice(write_voice(tmp_path, "duo", speakers=["ann", "bob"]), "MIT")
    return folder


@pytest.fixture
def engine(checkpoints: Path) -> Iterator[PiperEngine]:
    engine = PiperEngine(VoiceFolder(checkpoints), EspeakEngine())
    engine.load()
    yield engine
    engine.close()


@pytest.fixture
async def service(
    s3_server: S3Server, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[speech_pb2_grpc.SpeechServiceStub]:
    for name, value in (s3_server.environment() | {"VISEMA_CHECKPOINT_DIR": str(checkpoints)}).items():
        monkeypatch.setenv(name, value)
    async with serve(make_spec(SpeechSettings())) as running, open_channel(running.address) as channel:
        yield speech_pb2_grpc.SpeechServiceStub(channel)


def ask(text: str, voice_id: str, **fields: float) -> speech_pb2.SynthesizeRequest:
    context = common_pb2.WorkContext(tenant=TENANT, work_id="job-1")
    return speech_pb2.SynthesizeRequest(context=context, text=text, voice_id=voice_id, **fields)


async def test_a_neural_voice_speaks_sentence_by_sentence_with_estimated_word_times(
    service: speech_pb2_grpc.SpeechServiceStub, object_store: ObjectStore
) -> None:
    text = "Good morning, Dr. Smith. It costs $1234.50 today!"
    replies = [reply async for reply in service.Synthesize(ask(text, VOICE), timeout=60)]
    accepted, result = replies[0].accepted, replies[-2].result
    assert (accepted.voice.voice_id, accepted.voice.license) == (VOICE, "CC-BY-4.0")
    assert (accepted.engine.name, accepted.engine.model_license) == ("piper", "CC-BY-4.0")
    assert len(accepted.engine.weights_sha256) == 64
    assert not accepted.engine.degraded
    assert "word-timings-estimated" in accepted.engine.capabilities
    assert [reply.progress.frames_done for reply in replies[1:-2]] == [1, 2]
    assert [word.word for word in result.words] == [
        *("Good", "morning", "Dr", "Smith"),
        *("It", "costs", "$1234.50", "today"),
    ]
    for before, word in itertools.pairwise(result.words):
        assert before.start_ms < before.end_ms <= word.start_ms
    samples, rate_hz = read_wav(await object_store.get(result.audio, TENANT))
    assert (len(samples), rate_hz) == (1, 48_000)
    assert result.words[-1].end_ms <= samples.shape[1] / 48
    for word in result.words:
        assert np.abs(samples[0, word.start_ms * 48 : word.end_ms * 48]).max() > 0.2, word
    again = [reply async for reply in service.Synthesize(ask(text, VOICE), timeout=60)]
    assert again[-2].result.cached
    assert again[-2].result.audio == result.audio


async def test_neural_voices_are_listed_and_an_unknown_one_is_never_replaced(
    service: speech_pb2_grpc.SpeechServiceStub,
) -> None:
    listed = await service.ListVoices(speech_pb2.ListVoicesRequest(language="en-US"))
    found = {voice.voice_id: voice.license for voice in listed.voices if voice.engine == "piper"}
    assert found == {VOICE: "CC-BY-4.0", "piper/duo+ann": "MIT", "piper/duo+bob": "MIT"}
    for unknown in ("piper/nobody", "piper/duo", "piper/duo+cleo"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.Synthesize(ask("Hi", unknown), timeout=60).read()
        assert from_rpc_error(caught.value).reason == "VOICE_NOT_FOUND"


def test_the_rate_the_phonemes_and_the_speaker_reach_the_network(engine: PiperEngine) -> None:
    voices = {voice.voice_id: voice for voice in engine.voices()}
    normal, fast = (engine.speak(voices[VOICE], "tea", rate) for rate in (1.0, 2.0))
    assert normal.rate_hz == RATE_HZ
    ids = 1 + 2 * len("tˈiː") + 2  # the beginning, every phoneme and its padding, the end
    assert normal.samples.shape == (1, ids * PHONEME_SAMPLES)
    assert fast.samples.shape == (1, ids * PHONEME_SAMPLES // 2)
    beginnings = [
        int(np.abs(np.fft.rfft(engine.speak(voices[name], "tea", 1.0).samples[0, :PHONEME_SAMPLES])).argmax())
        for name in ("piper/duo+ann", "piper/duo+bob")
    ]
    hertz = [peak * RATE_HZ / PHONEME_SAMPLES for peak in beginnings]
    assert abs(hertz[1] - hertz[0] - 200) <= RATE_HZ / PHONEME_SAMPLES


def test_marks_shape_the_melody_and_full_stops_of_abbreviations_do_not(engine: PiperEngine) -> None:
    clauses = [("həlˈoʊ", "Hello, D"), ("dˈɑːktɚ", "r. S"), ("(ru)smˈɪθ(en)", "mith?")]
    assert spoken_phonemes(clauses, 'Hello, Dr. Smith?"') == "həlˈoʊ, dˈɑːktɚ smˈɪθ?"
    assert spoken_phonemes([("nǐ", "你，"), ("hǎo", "好。")], "你，好。") == "nǐ, hǎo."
    voice = engine.voices()[0]
    assert engine.speak(voice, "…", 1.0).marks == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"phoneme_id_map": {"_": [0]}}, r"phoneme_id_map .*lacks \$, \^"),
        ({"audio": {}}, "audio.sample_rate"),
        ({"phoneme_type": "text"}, "phoneme_type"),
        ({"espeak": {"voice": "nobody"}}, "eSpeak NG's voice nobody"),
    ],
)
def test_a_description_that_does_not_fit_is_a_checkpoint_error(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    folder = VoiceFolder(tmp_path / "checkpoints")
    folder.import_voice(write_voice(tmp_path, "odd", **changes), "MIT")
    engine = PiperEngine(folder, EspeakEngine())
    with pytest.raises(CheckpointMissing, match=why):
        engine.load()
    engine.close()


def test_a_network_that_is_none_is_a_checkpoint_error(tmp_path: Path) -> None:
    source = write_voice(tmp_path, "odd")
    folder = VoiceFolder(tmp_path / "checkpoints")
    for content, why in (
        (b"no network", "cannot be loaded"),
        (source.read_bytes().replace(b"scales", b"skales"), "skales"),
    ):
        source.write_bytes(content)
        folder.import_voice(source, "MIT")
        engine = PiperEngine(folder, EspeakEngine())
        with pytest.raises(CheckpointMissing, match=why):
            engine.load()
        engine.close()


def test_a_description_without_a_language_speaks_that_of_its_espeak_voice() -> None:
    content = (
        b'{"audio": {"sample_rate": 22050}, "espeak": {"voice": "pt-br"}, "phoneme_id_map": {"_":[0],"^":[1],"$":[2]}}'
    )
    description = VoiceDescription.parse("x", content)
    assert description.language_tag == "pt-br"
    assert description.network_input("zz").tolist() == [[1, 0, 2]]  # phonemes that it never met are left out
