"""Videos of the sample portraits, made by the real services, pass the independent meter's bars."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from quality import (
    PORTRAITS,
    SAMPLES,
    SPEECH,
    Figures,
    Sample,
    bars_for,
    idle_bars,
    measure,
    missed,
    own_bars,
    write_framed_portrait,
)
from visema.common.v1 import common_pb2
from visema_client import VideoSettings, Visema

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder ../shared with sample portraits is absent"),
]


@pytest.mark.parametrize("language", sorted(SPEECH))
@pytest.mark.parametrize("sample", PORTRAITS, ids=lambda sample: sample.name)
def test_a_sample_portrait_meets_every_bar(sample: Sample, language: str, client: Visema, tmp_path: Path) -> None:
    framed, video = tmp_path / "framed.png", tmp_path / "video.mp4"
    write_framed_portrait(sample, 512, framed)
    made = client.generate(sample.path, SPEECH[language])
    made.save(video)
    figures = measure(framed, SPEECH[language], video)
    assert missed(figures, bars_for(sample) + own_bars(sample)) == []
    assert_agrees(made.job.report.quality, figures)


@pytest.mark.parametrize("sample", PORTRAITS[:2], ids=lambda sample: sample.name)
def test_a_portrait_whose_head_follows_the_speech_meets_every_bar(
    sample: Sample, client: Visema, tmp_path: Path
) -> None:
    framed, video = tmp_path / "framed.png", tmp_path / "video.mp4"
    write_framed_portrait(sample, 512, framed)
    client.generate(sample.path, SPEECH["en"], settings=VideoSettings(speech_motion=1)).save(video)
    assert missed(measure(framed, SPEECH["en"], video), bars_for(sample)) == []


def assert_agrees(own: common_pb2.QualityReport, figures: Figures) -> None:
    """The job's own report says what the meter finds on the encoded video, as far as both measure the same."""
    assert own.score >= 90
    assert own.frame_count == figures["frames"]
    assert own.lag_ms == pytest.approx(figures["audio_lag_ms"], abs=40)  # a frame
    assert own.correlation == pytest.approx(figures["audio_corr0"], abs=0.15)
    assert figures["mouth_range"] / 2 < own.mouth_range_percent < figures["mouth_range"] * 2
    if figures["closed_in_silence"] is not None and own.HasField("closed_in_silence_ratio"):
        assert own.closed_in_silence_ratio == pytest.approx(figures["closed_in_silence"], abs=0.1)
    assert own.preservation_db > 60  # lip-sync leaves the rest alone
    assert own.flicker_levels < 1


@pytest.mark.parametrize("sample", PORTRAITS, ids=lambda sample: sample.name)
def test_a_silent_video_is_a_loop_without_a_visible_seam(sample: Sample, client: Visema, tmp_path: Path) -> None:
    """Silence of the loop's length: the last frame leads on to the first, and the mouth rests."""
    silence, framed, video = tmp_path / "silence.wav", tmp_path / "framed.png", tmp_path / "video.mp4"
    with wave.open(str(silence), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(bytes(2 * 16_000 * 10))
    write_framed_portrait(sample, 512, framed)
    client.generate(sample.path, silence).save(video)
    assert missed(measure(framed, silence, video, loop=True), idle_bars()) == []
