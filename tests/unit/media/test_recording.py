"""Quiet, clipped and noisy recordings are named."""

from __future__ import annotations

import numpy as np
import pytest
from support import voices
from visema_media.audio import write_wav
from visema_media.recording import WARN_CLIPPED, WARN_NOISY, WARN_QUIET, RecordingJudge
from visema_media.speech import decode_audio

RATE_HZ = voices.RATE_HZ


def speech() -> np.ndarray:
    """Two seconds of words and pauses, float32 (1, n), peak 0.5."""
    return voices.join(*(part for name in "aoeiu" for part in (voices.vowel(name, 0.25), voices.silence(0.15))))[None]


def noise(level: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, level, speech().shape).astype(np.float32)


def judged(samples: np.ndarray, block: int = 65_536) -> tuple[str, ...]:
    judge = RecordingJudge(RATE_HZ)
    for start in range(0, samples.shape[1], block):
        judge.add(np.clip(samples[:, start : start + block], -1, 1))
    return judge.warnings()


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (speech(), ()),
        (speech() * 2, ()),  # just reaches full scale
        (speech() + noise(0.002), ()),
        (speech() * 0.005, (WARN_QUIET,)),
        (speech() * 6, (WARN_CLIPPED,)),
        (speech() + noise(0.05), (WARN_NOISY,)),
        (speech() * 0.01 + noise(0.001), (WARN_QUIET, WARN_NOISY)),
        (speech() * 0, ()),  # silence is no fault of the recording
        (speech()[:, :100], ()),  # too short to judge
    ],
    ids=["clean", "full", "faint noise", "quiet", "clipped", "noisy", "both", "silent", "short"],
)
def test_a_recording_is_judged(samples: np.ndarray, expected: tuple[str, ...]) -> None:
    assert judged(samples) == expected


@pytest.mark.parametrize("block", [1, 37, 320, 5000])
def test_blocks_of_any_size_give_the_same(block: int) -> None:
    for samples in (speech() * 6, speech() + noise(0.05)):
        assert judged(samples[:, :16_000], block) == judged(samples[:, :16_000])


def test_decoding_says_what_is_wrong_with_the_recording() -> None:
    assert decode_audio(write_wav(speech(), RATE_HZ)).warnings == ()
    assert decode_audio(write_wav(speech() * 6, RATE_HZ)).warnings == (WARN_CLIPPED,)
    stereo = np.concatenate([speech(), speech()]) * 0.005
    assert decode_audio(write_wav(stereo, RATE_HZ)).warnings == (WARN_QUIET,)
