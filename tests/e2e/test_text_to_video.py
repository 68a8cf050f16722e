"""A portrait and text become a video through the whole real stack."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from support.command_line import visema
from visema_client import Visema
from visema_client.cli.demo import SAMPLES
from visema_client.settings import VideoSettings
from visema_kit.errors import VoiceNotFound

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]


def loudest(video: Path) -> float:
    with av.open(str(video)) as container:
        return max(float(abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0))


def test_generate_speaks_a_text(stack: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    done = visema(
        "generate", SAMPLES / "portrait.jpg", "--text", "Привет, это VISEMA 2.", "-o", output,
        "--server", stack, "--size", 256, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)["job"]
    speech = job["report"]["stages"][0]
    assert (speech["stage"], speech["report"]["engine"]["name"]) == ("speech", "espeak")
    with av.open(str(output)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == int(job["result"]["frame_count"])
    assert 25 < frames < 125  # four words and a number: one to five seconds
    assert loudest(output) > 0.1


def test_the_sdk_speaks_with_a_voice_and_repeats_it_from_the_cache(client: Visema) -> None:
    settings = VideoSettings(size_px=256)
    for reused in (0, 1):
        video = client.generate(
            SAMPLES / "portrait.jpg",
            text="Hello there, how are you?",
            voice_id="espeak/en-gb+f3",
            settings=settings,
            timeout_s=200,
        )
        report = video.job.report.stages[0].report
        assert (report.segment_count, report.reused_segment_count) == (1, reused)
    with pytest.raises(VoiceNotFound):
        client.generate(SAMPLES / "portrait.jpg", text="Hello", voice_id="espeak/nobody", timeout_s=200)


def test_voices_are_listed_through_the_orchestrator(stack: str) -> None:
    done = visema("voices", "--server", stack, "--language", "pt-BR", "--json")
    assert done.returncode == 0, done.stderr
    voices = json.loads(done.stdout)["voices"]
    assert [voice["voice_id"] for voice in voices] == ["espeak/pt-br", "espeak/pt-br+f3"]
    assert {voice["license"] for voice in voices} == {"GPL-3.0-or-later"}
    shown = visema("voices", "--server", stack, "--language", "ru").stdout
    assert "espeak/ru" in shown
    assert "Russian" in shown
