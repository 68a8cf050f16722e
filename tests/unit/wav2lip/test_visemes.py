"""Speech in, mouth plan out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support import voices
from visema_wav2lip.mouthplan import MouthPlan
from visema_wav2lip.visemes import plan_mouth

RATE = Fraction(25)


def plan(sound: np.ndarray, rate: Fraction = RATE) -> MouthPlan:
    return plan_mouth(sound, rate, -(-len(sound) * rate.numerator // (voices.RATE_HZ * rate.denominator)))


def sentence() -> np.ndarray:
    parts = [voices.silence(0.4)]
    for name in "aiueoa":
        parts += [voices.vowel(name, 0.22), voices.silence(0.12)]
    return voices.join(*parts, voices.silence(0.4))


def syllables(consonant: np.ndarray, count: int = 6) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """`?a?a?a` with the times in seconds of each consonant between two vowels."""
    parts, spans, now = [voices.silence(0.3)], [], 0.3
    for i in range(count):
        if i:
            spans.append((now, now + len(consonant) / voices.RATE_HZ))
        parts += [consonant, voices.vowel("a", 0.18)]
        now += len(consonant) / voices.RATE_HZ + 0.18
    return voices.join(*parts, voices.silence(0.3)), spans


def test_silence_keeps_the_mouth_exactly_shut() -> None:
    for sound in (np.zeros(16_000, np.float32), np.zeros(0, np.float32), np.full(16_000, 1e-6, np.float32)):
        quiet = plan_mouth(sound, RATE, 25)
        assert len(quiet) == 25
        assert not quiet.opening.any()
        assert not quiet.speech.any()


def test_noise_alone_is_not_speech() -> None:
    hiss = np.random.default_rng(0).normal(0, 0.02, 32_000).astype(np.float32)
    assert plan(hiss).opening.max() < 0.05


def test_an_open_vowel_opens_further_than_a_close_one() -> None:
    sound = voices.join(
        voices.silence(0.3),
        *(part for name in "aiauao" for part in (voices.vowel(name, 0.3), voices.silence(0.15))),
        voices.silence(0.3),
    )
    opening = plan(sound).opening
    centres = {name: int((0.3 + 0.45 * i + 0.15) * 25) for i, name in enumerate(("a", "i", "a2", "u"))}
    assert opening[centres["a"]] > 1.5 * opening[centres["i"]]
    assert opening[centres["a2"]] > 1.5 * opening[centres["u"]]


def test_spread_and_rounded_vowels_are_told_apart() -> None:
    sound = voices.join(
        voices.silence(0.3),
        *(part for name in "iuiaou" for part in (voices.vowel(name, 0.3), voices.silence(0.15))),
        voices.silence(0.3),
    )
    result = plan(sound)
    at = [int((0.3 + 0.45 * i + 0.15) * 25) for i in range(6)]
    assert result.width[at[0]] > 0.1 > result.width[at[1]]
    assert result.rounding[at[1]] > 0.3
    assert result.rounding[at[0]] < 0.1
    assert result.rounding[at[1]] > result.rounding[at[3]]


@pytest.mark.parametrize("consonant", ["m", "p"])
@pytest.mark.parametrize("rate", [24, 25, 30, 50])
def test_lips_meet_between_the_syllables_of_mama_and_papa(consonant: str, rate: int) -> None:
    sound, spans = syllables(voices.nasal(0.09) if consonant == "m" else voices.stop(0.09))
    opening = plan(sound, Fraction(rate)).opening
    full = float(np.percentile(opening, 95))
    for start, end in spans:
        between = opening[int(start * rate) : int(np.ceil(end * rate)) + 1]
        assert between.min() < 0.08 * full, (start, opening.round(2).tolist())


def test_the_mouth_neither_lags_nor_leads_by_a_frame() -> None:
    sound = sentence()
    opening = plan(sound).opening
    level = np.array([np.abs(sound[i * 640 : (i + 1) * 640]).mean() for i in range(len(opening))])
    scores = {
        lag: np.corrcoef(
            opening[max(0, lag) : len(opening) + min(0, lag)],
            np.roll(level, lag)[max(0, lag) : len(level) + min(0, lag)],
        )[0, 1]
        for lag in range(-4, 5)
    }
    assert abs(max(scores, key=lambda lag: scores[lag])) <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 1e-3,
        lambda x: np.clip(x * 20, -1, 1),
        lambda x: x + np.random.default_rng(5).normal(0, 0.01, len(x)),
        lambda x: x + 0.3,
    ],
    ids=["quiet", "clipped", "noisy", "offset"],
)
def test_recording_conditions_hardly_change_the_motion(change: object) -> None:
    sound = sentence()
    assert callable(change)
    clean, spoiled = plan(sound), plan(change(sound).astype(np.float32))
    assert np.corrcoef(clean.opening, spoiled.opening)[0, 1] > 0.85


def test_not_a_number_counts_as_silence() -> None:
    sound = sentence()
    sound[5000:5100] = np.nan
    sound[9000] = np.inf
    result = plan(sound)
    assert np.isfinite(result.opening).all()
    assert result.opening.max() > 0.5


def test_frames_beyond_the_sound_are_shut() -> None:
    result = plan_mouth(voices.join(voices.vowel("a", 0.5)), RATE, 50)
    assert result.opening[:12].max() > 0.3
    assert not result.opening[15:].any()


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(50)])
def test_every_frame_rate_gives_the_same_motion(rate: Fraction) -> None:
    sound = sentence()
    base, other = plan(sound), plan(sound, rate)
    at = (np.arange(len(base)) + 0.5) / 25 * float(rate) - 0.5
    resampled = np.interp(at, np.arange(len(other)), other.opening)
    assert np.corrcoef(base.opening, resampled)[0, 1] > 0.95


def test_curves_stay_in_their_ranges() -> None:
    result = plan(sentence())
    assert 0 <= result.opening.min() <= result.opening.max() <= 1.2
    assert -1 <= result.width.min() <= result.width.max() <= 1
    for curve in (result.rounding, result.press, result.lip_teeth, result.upper_raise, result.speech):
        assert 0 <= curve.min() <= curve.max() <= 1


def test_strength_scales_the_motion_and_keeps_closures() -> None:
    base = plan(sentence())
    still = base.scaled(0.0)
    assert not still.opening.any()
    assert np.array_equal(still.press, base.press)
    assert base.scaled(1.5).opening.max() > base.opening.max()
