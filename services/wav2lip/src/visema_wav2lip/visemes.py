"""From speech to a mouth plan, for any language and any frame rate.

How far a mouth opens is heard as the energy of what passes open lips, between 400 and 3600 Hz; what shape it takes is
told by the kinds of sounds that `sounds` hears. Lips shut where those say so and the energy falls, while the voice bar
below 400 Hz may go on, so nasals close although they are loud. Loudness is judged against this clip's own range, so
that quiet, loud, clipped and band-limited recordings move the mouth alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d, maximum_filter1d

from visema_wav2lip.engines.protocol import SPEECH_RATE_HZ
from visema_wav2lip.mouthplan import Curve, MouthPlan
from visema_wav2lip.sounds import Sound, hear_sounds
from visema_wav2lip.spectrum import MEL_STEPS_PER_S, STEPS_PER_S, BandEnergies, Series, band_energies

_SILENT_PEAK = 1e-4  # -80 dB of full scale: below the noise of any microphone
_LEAD_S = 0.009  # lips form a sound before it is heard
_NOISE_RANGE_DB = 7.0  # a recording that varies less is one steady sound
_NOISE_FLATNESS = 0.35  # and this flat it is noise
_FASTEST_PER_S = 10.0  # a jaw needs 100 ms to open wide
_WIDEST = 1.1  # of full opening: a shout
_LOUDNESS_RANGE_DB = 26.0
_GATE_ON, _GATE_OFF = 0.40, 0.28  # of the range between floor and peak
_STOP_DB = (14.0, 24.0)  # depth of the dip that a silent closure leaves between two vowels
_SHUT_DB = (6.0, 12.0)  # below the vowels beside it, `p b m` alike
_CLOSURE_REACH_S = 0.130  # to the vowels on both sides
_OPENNESS = np.array([0.40, 0.40, 0.44, 0.34, 0.54, 1, 0.72, 0.54, 0.72, 0.49, 0.54], np.float32)  # by `Sound`
_ROUNDING = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.9, 0.7], np.float32)
_WIDTH = np.array([0, 0, 0, 0, 0, 0.1, 0.4, 0.9, -0.35, -0.8, -0.5], np.float32)
_ROUNDED = (0.13, 0.75)  # of what all vowels nearby say: the sounds' doubts round no lips
_COARTICULATION_S = 0.050
_LABIAL, _LIP_TEETH = (0.55, 0.85), (0.20, 0.55)  # likelihoods from which on lips begin to close, and are closed
_LEAST_OPENING, _LEAST_GATE, _LEAST_LIP_TEETH = 0.03, 0.02, 0.05  # what is below is nothing


def plan_mouth(samples: npt.NDArray[np.float32], frame_rate: Fraction, frame_count: int) -> MouthPlan:
    """Mouth motion for mono speech at 16 kHz.

    Args:
        samples: float32 (n,), may be empty, quiet, clipped or hold NaN; frames beyond its end are silent.
        frame_rate: Frames per second of the video.
        frame_count: Frames to plan.
    """
    speech = np.nan_to_num(np.asarray(samples, np.float32).reshape(-1), nan=0.0, posinf=1.0, neginf=-1.0)
    peak = max(float(np.max(speech, initial=0.0)), -float(np.min(speech, initial=0.0)))
    if peak < _SILENT_PEAK or frame_count <= 0:
        return MouthPlan.silent(max(frame_count, 0))
    speech -= speech.mean()
    speech /= peak
    bands = band_energies(speech)
    sonority = _sonority_db(bands)
    gate = _speech_gate(bands, sonority)
    if not gate.any():
        return MouthPlan.silent(frame_count)
    motion = _articulate(sonority, gate, _every_step(hear_sounds(speech), len(sonority)))
    return motion.at_frames(frame_rate, frame_count)


def _sonority_db(bands: BandEnergies) -> Series:
    """Level of what passes open lips, in dB, smoothed over 8 ms."""
    level = 10 * np.log10(bands.first + 1.5 * bands.middle + 2 * bands.upper)
    return _smooth(level.astype(np.float32), 0.008)


def _smooth(series: npt.NDArray[np.floating], sigma_s: float) -> Series:
    return np.asarray(gaussian_filter1d(series, sigma_s * STEPS_PER_S, mode="nearest", truncate=3.0), np.float32)


def _ramp(series: npt.NDArray[np.floating], start: float, end: float) -> Series:
    """0 at `start`, 1 at `end` (which may be the smaller), linear and clipped."""
    return np.asarray(np.clip((series - start) / (end - start), 0, 1), np.float32)


def _steps(seconds: float) -> int:
    return max(1, round(seconds * STEPS_PER_S))


def _speech_gate(bands: BandEnergies, sonority: Series) -> npt.NDArray[np.bool_]:
    """Where somebody speaks: bool (T,). Hysteresis between a high and a low threshold, no clicks, no holes."""
    total = bands.voice + bands.first + bands.middle + bands.upper + bands.hiss
    level = np.maximum(_smooth(10 * np.log10(total), 0.010), sonority)
    peak = float(np.percentile(level, 96))
    low = float(np.percentile(level, 6))
    if peak - low < _NOISE_RANGE_DB:
        return np.full(len(level), bands.flatness < _NOISE_FLATNESS)
    floor = float(np.clip(low, peak - 60, peak - 14))
    span = peak - floor
    above = level > floor + _GATE_OFF * span
    # A stretch above the low threshold counts when it reaches the high one somewhere.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(np.int8)))
    gate = np.zeros(len(level), bool)
    for start, end in edges.reshape(-1, 2):
        gate[start:end] = level[start:end].max() > floor + _GATE_ON * span
    gate = binary_closing(gate, np.ones(_steps(0.06))) | gate
    return np.asarray(binary_opening(gate, np.ones(_steps(0.04))), bool)


@dataclass(frozen=True, slots=True)
class _Articulation:
    """The curves of a `MouthPlan` every 5 ms, before they are brought to frames."""

    opening: Series
    width: Series
    rounding: Series
    press: Series
    lip_teeth: Series
    hiss: Series
    gate: Series

    def at_frames(self, frame_rate: Fraction, frame_count: int) -> MouthPlan:
        """Sample at the middle of each frame, a little ahead of the sound."""
        frame_s = float(1 / frame_rate)
        seconds = (np.arange(frame_count) + 0.5) * frame_s + _LEAD_S
        at = seconds * STEPS_PER_S
        steps = np.arange(len(self.opening))
        ended = seconds - _LEAD_S > len(steps) / STEPS_PER_S + frame_s

        def sample(series: Series, sigma_s: float = 0.0) -> npt.NDArray[np.float64]:
            smoothed = _smooth(series, sigma_s) if sigma_s else series
            return np.where(ended, 0.0, np.interp(at, steps, smoothed, right=0.0))

        hold = maximum_filter1d(self.press, _steps(frame_s / 2))  # a closure shows in one frame at least
        press = _snap(sample(hold, 0.004))
        opening = sample(self.opening, 0.022)
        opening = np.where(opening < _LEAST_OPENING, 0.0, opening) * (1 - press)
        opening = _slowed(opening, _FASTEST_PER_S * frame_s)
        opening = np.minimum(opening * _regained(opening), _WIDEST)
        speaking = np.clip(opening * 4 + 0.15, 0, 1) * (sample(self.gate, 0.015) > _LEAST_GATE)
        lip_teeth = sample(self.lip_teeth, 0.015) * (1 - press)
        width = np.clip(sample(self.width, 0.035), -1, 1) * speaking
        raised = 0.30 * opening + 0.45 * np.clip(width, 0, 1) * opening + 0.35 * sample(self.hiss, 0.015)
        curves = (
            opening,
            width,
            np.clip(sample(self.rounding, 0.035), 0, 1) * speaking,
            press,
            np.where(lip_teeth < _LEAST_LIP_TEETH, 0.0, lip_teeth),
            np.clip(raised, 0, 1) * (opening > 0),
            np.clip(sample(self.gate, 0.020), 0, 1),
        )
        return MouthPlan(*(_as_curve(curve) for curve in curves))


def _slowed(opening: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """The highest curve below `opening` that changes by at most `step` a frame: closures stay closed."""
    slope = np.arange(len(opening)) * step
    rising = np.minimum.accumulate(opening - slope) + slope
    falling = (np.minimum.accumulate((opening + slope)[::-1]))[::-1] - slope
    return np.asarray(np.minimum(rising, falling), np.float64)


def _regained(opening: npt.NDArray[np.float64]) -> float:
    """Gain that makes the loudest syllables open fully again after the leaps were slowed."""
    widest = float(np.percentile(opening, 96, method="lower"))
    return 1.0 if widest < 0.3 else float(np.clip(1 / widest, 1.0, 1.25))  # noqa: PLR2004 - nobody speaks up


def _as_curve(values: npt.NDArray[np.floating]) -> Curve:
    return values.astype(np.float32)


def _snap(press: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Closures close: what is nearly shut is shut, what hardly presses does not."""
    return np.clip((press - 0.10) / 0.45, 0, 1)


def _articulate(sonority: Series, gate: npt.NDArray[np.bool_], sounds: Series) -> _Articulation:
    """Loudness tells how far the mouth opens, the kind of sound its shape. Args: sounds: (T, 11), as `hear_sounds`."""
    loudness = _loudness(sonority, gate)
    opening = np.where(gate, loudness * _smooth(sounds @ _OPENNESS, 0.012), 0)
    opening = _full_range(opening * (1 - 0.30 * _ramp(_dip_db(sonority), *_STOP_DB)))

    labial, lip_teeth, sibilant = (sounds[:, kind] for kind in (Sound.LABIAL, Sound.LIP_TEETH, Sound.SIBILANT))
    vowel = sounds[:, Sound.A :].sum(axis=1)
    # Between vowels the lips are on their way from one to the next.
    weight = _smooth(vowel, _COARTICULATION_S) + 0.02
    rounding = _ramp(_smooth(sounds @ _ROUNDING, _COARTICULATION_S) / weight, *_ROUNDED)
    width = _smooth(sounds @ _WIDTH, _COARTICULATION_S) / weight
    width = width * (1 - sibilant) + 0.3 * sibilant
    shut = _ramp(labial, *_LABIAL) * _ramp(_below_vowels_db(sonority), *_SHUT_DB)
    press = np.where(gate | _near(gate, 0.03), shut, 0)
    return _Articulation(
        opening=opening.astype(np.float32),
        width=np.where(gate, width, 0).astype(np.float32),
        rounding=np.where(gate, rounding, 0).astype(np.float32),
        press=press.astype(np.float32),
        lip_teeth=np.where(gate, _ramp(lip_teeth, *_LIP_TEETH), 0).astype(np.float32),
        hiss=(sibilant * gate).astype(np.float32),
        gate=gate.astype(np.float32),
    )


def _every_step(sounds: Series, steps: int) -> Series:
    """Likelihoods every 10 ms to ones every 5 ms: float32 (steps, 11)."""
    at = np.minimum(np.arange(steps) * (MEL_STEPS_PER_S / STEPS_PER_S), len(sounds) - 1)
    before = at.astype(int)
    after = np.minimum(before + 1, len(sounds) - 1)
    share = (at - before).astype(np.float32)[:, None]
    return np.asarray(sounds[before] * (1 - share) + sounds[after] * share, np.float32)


def _near(gate: npt.NDArray[np.bool_], seconds: float) -> npt.NDArray[np.bool_]:
    return np.asarray(maximum_filter1d(gate.astype(np.uint8), 2 * _steps(seconds) + 1), bool)


def _loudness(sonority: Series, gate: npt.NDArray[np.bool_]) -> Series:
    """0 to 1 under a slowly moving local peak: a speaker who turns away still opens the mouth."""
    peak = float(np.percentile(sonority[gate], 95))
    local = _smooth(maximum_filter1d(sonority[::4], _steps(3.0) // 4 | 1).repeat(4)[: len(sonority)], 0.3)
    reference = np.maximum(0.6 * local + 0.4 * peak, peak - 12)
    smoothed = _smooth(sonority, 0.010)
    return np.asarray(np.clip((smoothed - (reference - _LOUDNESS_RANGE_DB)) / _LOUDNESS_RANGE_DB, 0, 1), np.float32)


def _below_vowels_db(sonority: Series) -> Series:
    """How far each step lies below the loudest sound near it, in dB: shut lips let little through."""
    return np.asarray(
        maximum_filter1d(sonority, 2 * _steps(_CLOSURE_REACH_S) + 1, mode="nearest") - sonority, np.float32
    )


def _dip_db(sonority: Series) -> Series:
    """How far each step lies below the louder sound on both of its sides, in dB."""
    reach = _steps(_CLOSURE_REACH_S)
    before = maximum_filter1d(sonority, reach, origin=(reach - 1) // 2, mode="nearest")
    after = maximum_filter1d(sonority, reach, origin=-((reach - 1) // 2), mode="nearest")
    return np.asarray(np.minimum(before, after) - sonority, np.float32)


def _full_range(opening: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Scale so that the clip's loud vowels open fully; quieter parts keep their share."""
    moving = opening[opening > 0.05]  # noqa: PLR2004 - hardly open
    if not len(moving):
        return opening
    gain = min(1 / float(np.percentile(moving, 90)), 2.4)
    return np.asarray(np.clip(opening * gain, 0, 1.1) ** 1.1)


__all__ = ["SPEECH_RATE_HZ", "plan_mouth"]
