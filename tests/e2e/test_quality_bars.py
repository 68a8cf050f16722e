"""Videos of the sample portraits, made by the real services, pass the independent meter's bars."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from quality import PORTRAITS, SAMPLES, SPEECH, Sample, bars_for, idle_bars, measure, missed, write_framed_portrait
from visema_client import Visema

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
    client.generate(sample.path, SPEECH[language]).save(video)
    assert missed(measure(framed, SPEECH[language], video), bars_for(sample)) == []


def test_a_silent_video_is_a_loop_without_a_visible_seam(client: Visema, tmp_path: Path) -> None:
    """Silence of the loop's length: the last frame leads on to the first, and the mouth rests."""
    sample = next(sample for sample in PORTRAITS if sample.name == "mona_lisa")
    silence, framed, video = tmp_path / "silence.wav", tmp_path / "framed.png", tmp_path / "video.mp4"
    with wave.open(str(silence), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(bytes(2 * 16_000 * 10))
    write_framed_portrait(sample, 512, framed)
    client.generate(sample.path, silence).save(video)
    assert missed(measure(framed, silence, video, loop=True), idle_bars()) == []
