"""A text becomes a video through the whole real stack with a neural voice that the operator imported."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import visema
from support.small_voice import write_recording, write_voice
from visema_client import Visema
from visema_client.cli.demo import SAMPLES
from visema_client.localstack import LocalStack, StackOptions
from visema_client.settings import VideoSettings
from visema_kit.errors import VoiceNotFound

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("neural voice")]
VOICE = "piper/en_US-tones-low"


def models_voices(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return visema("models", "voices", *arguments, VISEMA_CHECKPOINT_DIR=str(folder))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder into which the command line imported a voice."""
    folder = tmp_path_factory.mktemp("voices")
    done = models_voices("import", write_voice(folder), "--license", "CC-BY-4.0", folder=folder / "checkpoints")
    assert done.returncode == 0, done.stderr
    assert VOICE in done.stderr
    return folder / "checkpoints"


@pytest.fixture(scope="module")
def client(checkpoints: Path) -> Iterator[Visema]:
    """A client of a stack whose speech service has the voice; the pictures' engines are without checkpoints."""
    variables = {"VISEMA_ENGINE": "auto", "VISEMA_CHECKPOINT_DIR": str(checkpoints)}
    with (
        LocalStack(StackOptions(variables=variables, start_timeout_s=180)) as stack,
        Visema(stack.address) as client,
    ):
        yield client


def test_a_text_job_is_spoken_by_an_imported_voice(client: Visema, tmp_path: Path) -> None:
    voices = [voice for voice in client.list_voices(language="en-us") if voice.engine == "piper"]
    assert [(voice.voice_id, voice.license) for voice in voices] == [(VOICE, "CC-BY-4.0")]
    video = client.generate(
        SAMPLES / "portrait.jpg",
        text="Hello you.",
        voice_id=VOICE,
        settings=VideoSettings(size_px=256),
        timeout_s=200,
    )
    speech = video.job.report.stages[0]
    assert (speech.stage, speech.report.engine.name, speech.report.engine.model_license) == (
        "speech",
        "piper",
        "CC-BY-4.0",
    )
    assert not speech.report.engine.degraded
    assert video.job.result.frame_count > 25
    with pytest.raises(VoiceNotFound):
        client.generate(SAMPLES / "portrait.jpg", text="Hello", voice_id="piper/nobody", timeout_s=200)


def test_the_command_line_lists_checks_and_removes_voices(tmp_path: Path) -> None:
    source = write_voice(tmp_path, "en-one")
    refused = models_voices("import", source, "--license", "MIT", "--sha256", "0" * 64, folder=tmp_path / "checkpoints")
    assert refused.returncode == 1
    assert "damaged or another file" in refused.stderr
    assert models_voices("import", source, folder=tmp_path / "checkpoints").returncode == 2  # no licence was stated
    models_voices("import", source, "--license", "MIT", folder=tmp_path / "checkpoints")
    assert "en-one" in models_voices("list", folder=tmp_path / "checkpoints").stdout
    (tmp_path / "checkpoints" / "piper" / "en-one.onnx").write_bytes(b"changed")
    changed = models_voices("verify", "en-one", folder=tmp_path / "checkpoints")
    assert changed.returncode == 1
    assert "was changed after it was imported" in changed.stderr
    assert "removed piper/en-one" in models_voices("remove", "piper/en-one", folder=tmp_path / "checkpoints").stderr


def test_the_command_line_registers_a_recording_and_says_that_nothing_speaks_like_it_yet(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "anna.wav", 4)
    named = ("--name", "anna", "--language", "en", "--license", "agreed by Anna")
    done = models_voices("register", recording, *named, folder=tmp_path / "checkpoints")
    assert done.returncode == 0, done.stderr
    assert "it speaks where an engine can use it" in done.stderr
    listed = models_voices("list", folder=tmp_path / "checkpoints").stdout
    assert "cloned/anna" in listed
    assert "agreed by Anna" in listed
    assert "removed cloned/anna" in models_voices("remove", "cloned/anna", folder=tmp_path / "checkpoints").stderr
