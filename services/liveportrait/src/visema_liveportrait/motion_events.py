"""Blinks and looks: one event per time window, drawn from the window's own seed.

So any range of frames can be computed alone, in constant memory. A loop has a whole number of windows and repeats them;
an endless motion numbers them for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Shares of a blink: lids close fast, rest, and open slowly.
CLOSING_SHARE = 0.29
RESTING_SHARE = 0.16
OPENING_EASE = 0.85
BLINK_LENGTH_SPREAD = 0.12  # one blink is up to this share longer or shorter than the next
BLINK_PLACE_SPREAD = 0.30  # of a window to either side of its middle
BLINK_CLEARANCE_S = 0.05  # between a blink and the edge of its window
SHORTEST_BLINK_S, LONGEST_BLINK_S = 0.12, 0.40
RESTING_FRAMES = 1.02  # a blink rests for at least one frame, else no frame shows the closed eye

LOOK_WINDOW_S = 1.4  # mean time between two looks
LOOK_PLACE = (0.15, 0.85)  # where in its window the eyes jump
JUMP_S = 0.06  # a saccade of a few degrees
LOOK_X_DEG, LOOK_Y_DEG = 3.2, 1.4  # standard deviations
LOOK_LIMIT = 2.0  # in standard deviations
LOOK_HOME_SHARE = 0.4  # looks that return to the camera

BLINK_STREAM, LOOK_STREAM = 101, 102


def smoothstep(position: FloatArray) -> FloatArray:
    """Ease from 0 to 1 with zero slope at both ends; clipped outside."""
    clipped = np.clip(position, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


@dataclass(frozen=True, slots=True)
class Windows:
    """Equal time windows, each with one event.

    Attributes:
        seed: Seed of the whole motion.
        stream: Number that tells kinds of events apart.
        length_s: Length of a window.
        count: Windows of a loop; None numbers them for ever.
    """

    seed: int
    stream: int
    length_s: float
    count: int | None

    def numbers(self, time_s: FloatArray) -> range:
        """Windows that contain the given times (ascending, at least one)."""
        return range(int(time_s[0] // self.length_s), int(time_s[-1] // self.length_s) + 1)

    def generator(self, number: int) -> np.random.Generator:
        """The window's own source of randomness; windows of a loop repeat."""
        wrapped = number if self.count is None else number % self.count
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.stream, wrapped])))


@dataclass(frozen=True, slots=True)
class Blinks:
    """All blinks of a motion.

    No blink crosses the edge of its window, so none crosses the seam of a loop, except those that are moved.

    Attributes:
        windows: One blink each.
        mean_s: Mean length of a blink.
        frame_s: Length of a frame.
        moved: Middle in seconds of each blink that is not where its window drew it, by the window's number; less than
            a window's length away from there.
    """

    windows: Windows
    mean_s: float
    frame_s: float
    moved: Mapping[int, float] = field(default_factory=dict)

    def middle_s(self, number: int) -> float:
        """When the blink of window `number` is at its middle."""
        return self._drawn(number)[0]

    def closure(self, time_s: FloatArray) -> FloatArray:
        """How far the lids are closed at the given times (ascending): float64 in [0, 1]."""
        closed = np.zeros_like(time_s)
        for number in self._near(time_s):
            middle_s, closing_s, resting_s, opening_s = self._drawn(number)
            into_s = time_s - (middle_s - (closing_s + resting_s + opening_s) / 2.0)
            falling = smoothstep(into_s / closing_s)
            rising = smoothstep((into_s - closing_s - resting_s) / opening_s) ** OPENING_EASE
            closed = np.maximum(closed, np.minimum(falling, 1.0 - rising))
        return closed

    def _near(self, time_s: FloatArray) -> range:
        """Windows whose blinks may show at the given times."""
        inside = self.windows.numbers(time_s)
        return range(max(inside.start - 1, 0), inside.stop + 1) if self.moved else inside

    def _drawn(self, number: int) -> tuple[float, float, float, float]:
        """Middle of a blink, and how long it closes, rests and opens, in seconds."""
        windows, generator = self.windows, self.windows.generator(number)
        length_s = float(
            np.clip(
                self.mean_s * (1.0 + generator.uniform(-BLINK_LENGTH_SPREAD, BLINK_LENGTH_SPREAD)),
                SHORTEST_BLINK_S,
                LONGEST_BLINK_S,
            )
        )
        closing_s = CLOSING_SHARE * length_s
        resting_s = max(RESTING_SHARE * length_s, RESTING_FRAMES * self.frame_s)
        opening_s = max(length_s - closing_s - resting_s, closing_s)
        whole_s = closing_s + resting_s + opening_s
        spread = min(BLINK_PLACE_SPREAD, 0.5 - (whole_s / 2.0 + BLINK_CLEARANCE_S) / windows.length_s)
        middle_s = (number + 0.5 + generator.uniform(-1.0, 1.0) * max(spread, 0.0)) * windows.length_s
        return self.moved.get(number, middle_s), closing_s, resting_s, opening_s


def gaze(time_s: FloatArray, windows: Windows, strength: float) -> tuple[FloatArray, FloatArray]:
    """Where the eyes look at the given times (ascending), in degrees to the right and down.

    The first look of a motion is at the camera, and so is the last one of a loop.
    """
    x_deg, y_deg = np.zeros_like(time_s), np.zeros_like(time_s)
    for number in windows.numbers(time_s):
        jump_s = (number + windows.generator(number).uniform(*LOOK_PLACE)) * windows.length_s
        moved = smoothstep((time_s - jump_s) / JUMP_S + 0.5)
        inside = (time_s >= number * windows.length_s) & (time_s < (number + 1) * windows.length_s)
        before, after = _look(windows, number - 1), _look(windows, number)
        x_deg = np.where(inside, strength * (before[0] + (after[0] - before[0]) * moved), x_deg)
        y_deg = np.where(inside, strength * (before[1] + (after[1] - before[1]) * moved), y_deg)
    return x_deg, y_deg


def _look(windows: Windows, number: int) -> tuple[float, float]:
    """Target that window `number` jumps to, in degrees."""
    if number < 0 or (windows.count is not None and (number + 1) % windows.count == 0):
        return 0.0, 0.0
    generator = windows.generator(number)
    generator.uniform()  # the place of the jump
    if generator.uniform() < LOOK_HOME_SHARE:
        return 0.0, 0.0
    x, y = np.clip(generator.normal(size=2), -LOOK_LIMIT, LOOK_LIMIT)
    return LOOK_X_DEG * float(x), LOOK_Y_DEG * float(y)


def whole_events(events_per_minute: float, loop_s: float) -> int:
    """Events of a loop: the nearest whole number, 0 in a loop that is far too short for one."""
    return math.floor(events_per_minute * loop_s / 60.0 + 0.5)
