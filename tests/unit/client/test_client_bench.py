"""`visema bench`: its arithmetic."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import pytest
from visema_client.cli.bench import Run, medians, per_second, repeated
from visema_client.cli.demo import SAMPLES


def run(wall_s: float, video_s: float = 5.0) -> Run:
    return Run(video_s=video_s, wall_s=wall_s, processing_s=wall_s, largest_compute_s=wall_s / 2, storage_share=0.1)


def test_medians_ignore_one_bad_round():
    assert medians([run(1.0), run(9.0), run(1.2)])["wall_s"] == 1.2


def test_one_more_second_costs_the_difference_of_the_medians():
    short, long = [run(1.0), run(1.1), run(7.0)], [run(6.1, 30.0), run(6.1, 30.0), run(9.0, 30.0)]
    assert per_second(short, long) == {"wall_s_per_more_second": pytest.approx(0.2)}
    assert per_second(short, []) == {}


def test_speech_is_repeated_whole():
    speech = SAMPLES / "speech.wav"
    with wave.open(str(speech)) as once, wave.open(io.BytesIO(repeated(speech, 6))) as often:
        assert often.getnframes() == 6 * once.getnframes()
        assert often.getframerate() == once.getframerate()


def test_what_is_no_pcm_wav_is_not_repeated(tmp_path: Path):
    other = tmp_path / "speech.mp3"
    other.write_bytes(b"ID3" + bytes(100))
    assert repeated(other, 6) == b""
