"""How the head wanders: smooth noise for each freedom, drawn until the first seconds of it look alive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visema_liveportrait.motion_noise import SmoothNoise, draw_noise

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sway:
    """One freedom of the head: how far and how fast it wanders at strength 1."""

    peak: float
    corner_hz: float
    highest_hz: float


# Peaks in degrees and in shares of the face height; slow sway of a person who listens.
YAW = Sway(5.2, 0.26, 0.8)
PITCH = Sway(3.45, 0.24, 0.8)
ROLL = Sway(2.6, 0.22, 0.7)
SHIFT_X = Sway(0.006, 0.20, 0.6)
SHIFT_Y = Sway(0.006, 0.20, 0.6)
BROW = Sway(0.008, 0.30, 0.8)
SWAYS = (YAW, PITCH, ROLL, SHIFT_X, SHIFT_Y, BROW)
TURNS = 3  # of them turn the head
NOISE_STREAM = 100

REST_SEARCH_S, REST_SEARCH_RATE_HZ = 60.0, 10.0
DRAWS, ENDLESS_DRAWS = 24, 10  # of a head motion; a job waits for those of an endless one
LIVELY_S = 4.8  # short videos have no more
LIVELY_SHARE = 0.55  # of its range, that each turn of a loop uses by then
# Measured in finished videos: a picture has no far side, so a face seems to turn by half of what was meant.
SEEN_SHARE = np.array([0.55, 0.57, 1.2])
HANN_POWER = 0.375  # mean square of the window that fades the ends
BENT_PRICE = 0.5  # of a square degree of yaw or pitch: those bend the picture, a tilt keeps it whole
# An endless motion has minutes to use its range, so it is judged by degrees: enough sway about its own mean, weighted
# towards the middle of the time, while the head stays near the portrait's own pose.
LIVELY_ENDLESS_SHARE, LIVELY_DEG2, FARTHEST_DEG2 = 0.4, 2.0, 8.0


@dataclass(frozen=True, slots=True)
class HeadSway:
    """One draw of all freedoms in the order of `SWAYS`.

    Attributes:
        noises: Shapes.
        start_s: Time of the shapes at which the motion starts.
        rests: Values at the start, taken as the portrait's own pose.
        scales: Factors that bring the peaks back to 1.
    """

    noises: list[SmoothNoise]
    start_s: float
    rests: list[float]
    scales: list[float]

    @classmethod
    def drawn(cls, seed: int, loop_s: float | None) -> HeadSway:
        """The liveliest draw of the seed; of an endless motion the first that is lively enough."""
        draws: list[HeadSway] = []
        for draw in _draws(seed, loop_s):
            draws.append(draw)
            if loop_s is None and draw.endless_liveliness() >= 1.0:
                return draw
        return max(draws, key=HeadSway.endless_liveliness if loop_s is None else HeadSway.loop_liveliness)

    def at(self, time_s: FloatArray) -> list[FloatArray]:
        """All freedoms at any times, as shares of their peaks: six float64 (N,) in [-1, 1]."""
        return [
            np.clip(scale * (noise.at(time_s + self.start_s) - rest), -1.0, 1.0)
            for noise, rest, scale in zip(self.noises, self.rests, self.scales, strict=True)
        ]

    def loop_liveliness(self) -> tuple[bool, float]:
        """Whether each turn uses enough of its range in the first seconds, then how lively those look."""
        turns, about_mean = self._first_turns()
        sway_deg2 = float(((SEEN_SHARE[:, None] * about_mean) ** 2).sum(axis=0).mean()) / HANN_POWER
        bent_deg2 = float(((SEEN_SHARE[:2, None] * turns[:2]) ** 2).sum(axis=0).mean())
        return self._smallest_share() >= LIVELY_SHARE, sway_deg2 - BENT_PRICE * bent_deg2

    def endless_liveliness(self) -> float:
        """1 or more where the first seconds of an endless motion look alive."""
        turns, about_mean = self._first_turns()
        return min(
            float((about_mean**2).sum(axis=0).mean()) / LIVELY_DEG2,
            FARTHEST_DEG2 / max(float((turns**2).sum(axis=0).mean()), 1e-6),
            self._smallest_share() / LIVELY_ENDLESS_SHARE,
        )

    def _first_turns(self) -> tuple[FloatArray, FloatArray]:
        """Yaw, pitch and roll of the first seconds in degrees, and about their means with faded ends: (3, T) each."""
        turns = np.stack([sway.peak * shares for sway, shares in zip(SWAYS, self.at(_lively_times()), strict=True)])
        turns = turns[:TURNS]
        return turns, (turns - turns.mean(axis=1, keepdims=True)) * np.hanning(turns.shape[1])

    def _smallest_share(self) -> float:
        """Of the turns of the head: share of the range that the first seconds use."""
        grid = _lively_times() + self.start_s
        turns = [scale * noise.at(grid) for noise, scale in zip(self.noises[:TURNS], self.scales[:TURNS], strict=True)]
        return min(float(np.abs(values - np.median(values)).max()) for values in turns)


def _draws(seed: int, loop_s: float | None) -> Iterator[HeadSway]:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, NOISE_STREAM])))
    search = np.arange(0.0, REST_SEARCH_S if loop_s is None else loop_s, 1.0 / REST_SEARCH_RATE_HZ)
    for _ in range(ENDLESS_DRAWS if loop_s is None else DRAWS):
        noises = [draw_noise(generator, sway.corner_hz, sway.highest_hz, loop_s) for sway in SWAYS]
        start_s = _calmest(noises[:TURNS], search)
        rests = [float(noise.at(np.array([start_s]))[0]) for noise in noises]
        grid = start_s + search
        peaks = [float(np.abs(noise.at(grid) - rest).max()) for noise, rest in zip(noises, rests, strict=True)]
        yield HeadSway(noises, start_s, rests, [1.0 / max(peak, 1e-6) for peak in peaks])


def _calmest(noises: list[SmoothNoise], grid: FloatArray) -> float:
    """Time at which the pose is nearest to the portrait's own."""
    distance = sum((noise.at(grid) ** 2 for noise in noises), start=np.zeros_like(grid))
    return float(grid[int(distance.argmin())])


def _lively_times() -> FloatArray:
    return np.arange(0.0, LIVELY_S, 1.0 / REST_SEARCH_RATE_HZ)
