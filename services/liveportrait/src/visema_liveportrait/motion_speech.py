"""What speech adds to a motion: nods and brows at accents, blinks at the ends of phrases, breath drawn in pauses.

Drawn once for the whole recording; every value depends on its own time only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from visema_liveportrait.motion_events import LONGEST_BLINK_S, Blinks, smoothstep
from visema_liveportrait.speech_cues import Nucleus, Pause, SpeechCues

FloatArray = npt.NDArray[np.float64]

BEAT_STREAM, BLINK_SHIFT_STREAM = 104, 105

ACCENTED, FULLY_ACCENTED = 0.6, 2.0  # prominence from which the head beats, and with all its strength
BEAT_DISTANCE_S = 0.65  # the head beats at the strongest accents that are so far apart
BEAT_S = (0.52, 0.60)
LEAD_S = (0.0, 0.05)  # from the beat's peak to the middle of the accent
NOD_DEG = (0.8, 1.5)
SIDE_SHARE = 0.25  # of the beats turn and tilt the head instead
SIDE_YAW_DEG, SIDE_ROLL_DEG, SIDE_PITCH_DEG = 1.1, 0.7, 0.35
BROW_ACCENTED, BROW_DISTANCE_S = 1.5, 1.8
BROW_S, BROW_LIFT = 0.72, 0.006  # of the face height

BLINK_REACH_S = 0.8  # a planned blink so near to the end of a phrase moves there
BLINK_AFTER_S = (0.04, 0.20)  # from the end of the phrase to the middle of the blink
BLINK_DISTANCE_S = 0.7

INHALING = 1.16  # phase at which half the breath is drawn: with the planner's `BREATH_SKEW`
SLOWER, FASTER = 0.35, 0.45  # how much slower and faster than usual a breath may be on average
INHALING_AFTER_S = 0.5  # at the latest, from the beginning of a pause


@dataclass(frozen=True, slots=True)
class Beats:
    """Pulses of one kind of motion, each a raised cosine.

    Attributes:
        middles_s: float64 (B,), when each is at its peak.
        lengths_s: float64 (B,).
        peaks: float64 (B, C), peaks of the C freedoms that move.
    """

    middles_s: FloatArray
    lengths_s: FloatArray
    peaks: FloatArray

    @classmethod
    def of(cls, beats: Iterable[tuple[float, float, tuple[float, ...]]], freedoms: int) -> Self:
        """Of middles, lengths and peaks; what would begin before the motion does is left out."""
        whole = [(middle, length, *peaks) for middle, length, peaks in beats if middle >= length / 2.0]
        table = np.array(whole, np.float64).reshape(-1, 2 + freedoms)
        return cls(table[:, 0], table[:, 1], table[:, 2:])

    def at(self, time_s: FloatArray) -> FloatArray:
        """Sum of all pulses at any times: float64 (C, N)."""
        place = np.clip((time_s[:, None] - self.middles_s) / self.lengths_s, -0.5, 0.5)  # (N, B)
        pulses = 0.5 + 0.5 * np.cos(2.0 * np.pi * place)
        return np.stack([(pulses * peaks).sum(axis=-1) for peaks in self.peaks.T])


@dataclass(frozen=True, slots=True)
class BreathShift:
    """How far the phase of the breath runs ahead so that the chest rises in pauses.

    Attributes:
        times_s: float64 (A,), ascending from 0.
        shifts: float64 (A,), in radians; in between it eases, after the last it stays.
    """

    times_s: FloatArray
    shifts: FloatArray

    def at(self, time_s: FloatArray) -> FloatArray:
        """Shift at any times: float64 (N,)."""
        after = np.clip(np.searchsorted(self.times_s, time_s, side="right"), 1, len(self.times_s) - 1)
        since = time_s - self.times_s[after - 1]
        eased = smoothstep(since / (self.times_s[after] - self.times_s[after - 1]))
        before = self.shifts[after - 1]
        return np.asarray(before + eased * (self.shifts[after] - before))


@dataclass(frozen=True, slots=True)
class SpeechGestures:
    """What head and brows do at accents.

    Attributes:
        turns: Yaw, pitch and roll in degrees at strength 1.
        brows: Lift as a share of the face height at strength 1.
        strength: Of both.
    """

    turns: Beats
    brows: Beats
    strength: float

    @classmethod
    def draw(cls, cues: SpeechCues, seed: int, strength: float) -> Self:
        """Draw the gestures of a recording."""
        raised = _strongest(cues.nuclei, BROW_ACCENTED, BROW_DISTANCE_S)
        brows = Beats.of(((accent.time_s, BROW_S, (BROW_LIFT,)) for accent in raised), freedoms=1)
        return cls(Beats.of(_turns(cues, seed), freedoms=3), brows, strength)

    def turns_deg(self, time_s: FloatArray) -> FloatArray:
        """Yaw, pitch and roll to add at any times: float64 (3, N)."""
        return self.strength * self.turns.at(time_s)

    def brow(self, time_s: FloatArray) -> FloatArray:
        """Lift of the brows to add at any times: float64 (N,)."""
        (lift,) = self.brows.at(time_s)
        return np.asarray(self.strength * lift)


def _turns(cues: SpeechCues, seed: int) -> Iterator[tuple[float, float, tuple[float, ...]]]:
    """Middle, length and peaks of what the head does at each accent: most are nods."""
    for number, accent in enumerate(_strongest(cues.nuclei, ACCENTED, BEAT_DISTANCE_S)):
        generator = _generator(seed, BEAT_STREAM, number)
        force = min((accent.prominence - ACCENTED) / (FULLY_ACCENTED - ACCENTED), 1.0)
        size = NOD_DEG[0] + (NOD_DEG[1] - NOD_DEG[0]) * force
        middle_s = accent.time_s - generator.uniform(*LEAD_S)
        length_s = generator.uniform(*BEAT_S)
        if generator.uniform() < SIDE_SHARE:
            side = math.copysign(size / NOD_DEG[1], generator.uniform(-1.0, 1.0))
            yield middle_s, length_s, (SIDE_YAW_DEG * side, SIDE_PITCH_DEG * abs(side), SIDE_ROLL_DEG * side)
        else:
            yield middle_s, length_s, (0.0, size, 0.0)


def moved_blinks(pauses: Iterable[Pause], blinks: Blinks, seed: int, strength: float) -> Mapping[int, float]:
    """Blinks that go to the end of a phrase: middle in seconds by the window's number."""
    length_s = blinks.windows.length_s
    reach_s = min(BLINK_REACH_S * min(strength, 1.0), 0.5 * length_s)
    moved: dict[int, float] = {}

    def middle_s(number: int) -> float:
        return moved.get(number, blinks.middle_s(number))

    for place, pause in enumerate(pauses):
        wanted_s = pause.start_s + _generator(seed, BLINK_SHIFT_STREAM, place).uniform(*BLINK_AFTER_S)
        if wanted_s < LONGEST_BLINK_S / 2.0:  # it would begin before the motion, whose first frame shows open eyes
            continue
        window = int(wanted_s // length_s)
        number = min(range(max(window - 1, 0), window + 2), key=lambda each: abs(middle_s(each) - wanted_s))
        others = [middle_s(each) for each in (number - 1, number + 1) if each >= 0]
        is_near = abs(middle_s(number) - wanted_s) <= reach_s
        if number not in moved and is_near and all(abs(other - wanted_s) >= BLINK_DISTANCE_S for other in others):
            moved[number] = wanted_s
    return moved


def breath_shift(
    pauses: Iterable[Pause], phase: Callable[[FloatArray], FloatArray], breaths_hz: float, strength: float
) -> BreathShift:
    """Let breath be drawn in pauses, at most one in each, as far as its pace allows.

    Args:
        pauses: Of the speech.
        phase: Of the breath without speech, in radians, at any times.
        breaths_hz: Breaths per second.
        strength: 1 reaches the pauses; below it the shift is smaller.
    """
    pace = 2.0 * math.pi * breaths_hz
    times_s, shifts, breath = [0.0], [0.0], -1
    for pause in pauses:
        time_s = min((pause.start_s + pause.end_s) / 2.0, pause.start_s + INHALING_AFTER_S)
        planned = float(phase(np.array([time_s]))[0])
        nearest = round((planned + shifts[-1] - INHALING) / (2.0 * math.pi))
        number = max(nearest, breath + 1)
        shift = INHALING + 2.0 * math.pi * number - planned
        since_s = time_s - times_s[-1]
        if -SLOWER * pace * since_s <= shift - shifts[-1] <= FASTER * pace * since_s:
            times_s.append(time_s)
            shifts.append(shift)
            breath = number
    stays_s = times_s[-1] + 1.0
    return BreathShift(np.array([*times_s, stays_s]), min(strength, 1.0) * np.array([*shifts, shifts[-1]]))


def _strongest(nuclei: Iterable[Nucleus], prominence: float, distance_s: float) -> list[Nucleus]:
    """The most prominent syllables that keep a distance from each other, in the order of time."""
    chosen: list[Nucleus] = []
    for nucleus in sorted(nuclei, key=lambda each: (-each.prominence, each.time_s)):
        if nucleus.prominence >= prominence and all(
            abs(nucleus.time_s - other.time_s) >= distance_s for other in chosen
        ):
            chosen.append(nucleus)
    return sorted(chosen, key=lambda each: each.time_s)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream, number])))
