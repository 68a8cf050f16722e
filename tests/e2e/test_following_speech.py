"""The head follows the speech through the whole real stack where the motion is no loop."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from visema_client import Visema
from visema_client.cli.demo import SAMPLES
from visema_client.settings import VideoSettings
from visema_liveportrait.motion_settings import MotionSettings
from visema_liveportrait.motion_speech import SpeechGestures
from visema_liveportrait.speech_cues import read_cues
from visema_media.audio import ANALYSIS_RATE_HZ, Samples

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

RATE = Fraction(25)


def foreheads(video: Path) -> np.ndarray:
    """The upper third of all frames, where speech moves the head alone."""
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="gray")[:85].astype(np.int16) for frame in container.decode(video=0)])


def sound(video: Path) -> Samples:
    with av.open(str(video)) as container:
        resampler = av.AudioResampler("flt", "mono", ANALYSIS_RATE_HZ)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]])


@pytest.mark.parametrize("spoken", [{"audio": SAMPLES / "speech.wav"}, {"text": "Hello there! How are you today?"}])
def test_the_head_beats_at_the_accents_of_the_speech(client: Visema, tmp_path: Path, spoken: dict[str, Path]) -> None:
    videos = []
    for name, strength in (("still", 0), ("following", 1)):
        made = client.generate(
            SAMPLES / "portrait.jpg", **spoken, settings=VideoSettings(size_px=256, loop=False, speech_motion=strength)
        )
        assert [stage.stage for stage in made.job.report.stages][-3:] == ["liveportrait", "wav2lip", "encoder"]
        made.save(tmp_path / f"{name}.mp4")
        videos.append(foreheads(tmp_path / f"{name}.mp4"))
    changed = np.abs(videos[1] - videos[0]).mean(axis=(1, 2))
    time_s = np.arange(len(changed)) / float(RATE)
    gestures = SpeechGestures.draw(read_cues(sound(tmp_path / "following.mp4")), MotionSettings().seed, 1.0)
    distance_s = np.abs(time_s[:, None] - gestures.turns.middles_s).min(axis=1)
    assert len(gestures.turns.middles_s) >= 2
    assert changed[distance_s < 0.08].mean() > 2 * changed[distance_s > 0.4].mean()
