"""Makes motion plans: seeded, deterministic, seamless as a loop, endless in constant memory."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from visema_liveportrait.motion_events import (
    BLINK_STREAM,
    LOOK_STREAM,
    LOOK_WINDOW_S,
    Blinks,
    Windows,
    gaze,
    whole_events,
)
from visema_liveportrait.motion_noise import SmoothNoise, draw_noise
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_liveportrait.motion_speech import BreathShift, SpeechGestures, breath_shift, moved_blinks
from visema_liveportrait.motion_sway import SWAYS, HeadSway
from visema_liveportrait.speech_cues import SpeechCues

FloatArray = npt.NDArray[np.float64]


BREATH_STREAM = 103

SHIFT_PER_YAW_DEG = 0.012 / 3.2  # turning the head also carries it sideways
BROW_PER_BLINK = -0.008
EYES_HOLD_TARGET = 0.5  # share of a head turn that the eyes turn back
BREATH_SKEW = 0.45  # breathing out takes longer than breathing in
BREATH_WANDER = 0.35
SHORTEST_NATURAL_LOOP_S, SLOWEST_LOOP_S = 4.0, 60.0


def loop_frame_count(settings: MotionSettings, frame_rate: Fraction, nominal_s: float, segment_frames: int) -> int:
    """Frames of a loop: a whole number of segments, about `nominal_s` long.

    Slow blinking or breathing makes the loop longer (at most a minute), so that each happens at least once in it; a
    loop that is meant to be very short stays so.
    """
    wanted_s = nominal_s
    blinks = settings.blinks_per_minute if settings.blink_duration_ms else 0.0
    breaths = settings.breaths_per_minute if settings.breathing else 0.0
    for per_minute in (blinks, breaths):
        if per_minute > 0 and nominal_s >= SHORTEST_NATURAL_LOOP_S:
            wanted_s = max(wanted_s, min(60.0 / per_minute, SLOWEST_LOOP_S))
    segments = max(1, round(wanted_s * frame_rate / segment_frames))
    return segments * segment_frames


class MotionPlanner:
    """Plans any range of frames of one animation.

    The first frame is neutral: the pose of the portrait, open eyes, looking at the camera, breathed out.
    Every value depends on the frame's own time only, so ranges can be planned in any order and size.
    """

    def __init__(
        self,
        settings: MotionSettings,
        frame_rate: Fraction,
        loop_frames: int | None,
        cues: SpeechCues | None = None,
    ) -> None:
        """Draw the motion.

        Args:
            settings: How it moves.
            frame_rate: Frames per second.
            loop_frames: Frames after which everything repeats; None never repeats.
            cues: Of the speech that a motion without a loop follows.
        """
        if frame_rate <= 0 or (loop_frames is not None and loop_frames < 1):
            raise ValueError(f"no motion at {frame_rate} frames per second and {loop_frames} frames per loop")
        self.settings = settings
        self.frame_rate = frame_rate
        self.loop_frames = loop_frames
        self._loop_s = None if loop_frames is None else float(loop_frames / frame_rate)
        self._sway = HeadSway.drawn(settings.seed, self._loop_s)
        self._blinks = self._draw_blinks()
        self._looks = self._look_windows()
        self._breath_hz, self._breath_wander = self._draw_breath()
        self._gestures: SpeechGestures | None = None
        self._breath_shift: BreathShift | None = None
        if cues is not None and settings.follows_speech and loop_frames is None:
            self._follow(cues)

    def plan(self, first_frame: int, frame_count: int) -> MotionPlan:
        """Motion of frames `first_frame` to `first_frame + frame_count`."""
        numbers = np.arange(first_frame, first_frame + frame_count, dtype=np.int64)
        if self.loop_frames is not None:
            numbers %= self.loop_frames
            order = np.argsort(numbers, kind="stable")
            plan = self._plan_times(numbers[order])
            back = np.argsort(order, kind="stable")
            return MotionPlan(
                **{name: series[back] for name, series in plan.series().items()}, expression=plan.expression
            )
        return self._plan_times(numbers)

    def _plan_times(self, numbers: npt.NDArray[np.int64]) -> MotionPlan:
        settings = self.settings
        time_s = numbers * self.frame_rate.denominator / self.frame_rate.numerator
        yaw, pitch, roll, shift_x, shift_y, brow = (
            settings.head_motion * sway.peak * shares for sway, shares in zip(SWAYS, self._sway.at(time_s), strict=True)
        )
        brow = np.maximum(brow, 0.0)
        if self._gestures is not None:
            turn = self._gestures.turns_deg(time_s)
            yaw, pitch, roll, brow = yaw + turn[0], pitch + turn[1], roll + turn[2], brow + self._gestures.brow(time_s)
        closed = np.zeros_like(time_s) if self._blinks is None else self._blinks.closure(time_s)
        look_x, look_y = np.zeros_like(time_s), np.zeros_like(time_s)
        if settings.gaze_wander > 0:
            look_x, look_y = gaze(time_s, self._looks, settings.gaze_wander)
        weight = 0.0 if settings.expression is Expression.NEUTRAL else settings.expression_strength

        def series(values: FloatArray) -> npt.NDArray[np.float32]:
            return np.ascontiguousarray(values, np.float32)

        return MotionPlan(
            yaw_deg=series(yaw),
            pitch_deg=series(pitch),
            roll_deg=series(roll),
            shift_x=series(shift_x + SHIFT_PER_YAW_DEG * yaw),
            shift_y=series(shift_y),
            breath=series(self._breath(time_s)),
            left_open=series(1.0 - closed),
            right_open=series(1.0 - closed),
            brow_lift=series(brow + BROW_PER_BLINK * closed),
            gaze_x_deg=series(look_x - EYES_HOLD_TARGET * yaw),
            gaze_y_deg=series(look_y - EYES_HOLD_TARGET * pitch),
            expression_weight=series(np.full_like(time_s, weight)),
            expression=settings.expression,
        )

    def _follow(self, cues: SpeechCues) -> None:
        """Let the speech change what was drawn without it."""
        settings = self.settings
        strength = settings.speech_motion
        self._gestures = SpeechGestures.draw(cues, settings.seed, strength * min(settings.head_motion, 1.0))
        if self._blinks is not None:
            moved = moved_blinks(cues.pauses, self._blinks, settings.seed, strength)
            self._blinks = replace(self._blinks, moved=moved)
        if self._breath_hz > 0:
            self._breath_shift = breath_shift(cues.pauses, self._breath_phase, self._breath_hz, strength)

    def _draw_blinks(self) -> Blinks | None:
        settings = self.settings
        if settings.blinks_per_minute == 0 or settings.blink_duration_ms == 0:
            return None
        length_s, count = 60.0 / settings.blinks_per_minute, None
        if self._loop_s is not None:
            count = whole_events(settings.blinks_per_minute, self._loop_s)
            if count == 0:
                return None
            length_s = self._loop_s / count
        windows = Windows(settings.seed, BLINK_STREAM, length_s, count)
        return Blinks(windows, settings.blink_duration_ms / 1000.0, float(1 / self.frame_rate))

    def _look_windows(self) -> Windows:
        if self._loop_s is None:
            return Windows(self.settings.seed, LOOK_STREAM, LOOK_WINDOW_S, None)
        count = max(1, whole_events(60.0 / LOOK_WINDOW_S, self._loop_s))
        return Windows(self.settings.seed, LOOK_STREAM, self._loop_s / count, count)

    def _draw_breath(self) -> tuple[float, SmoothNoise]:
        """Breaths per second and the slow change of their length."""
        per_minute = self.settings.breaths_per_minute
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.settings.seed, BREATH_STREAM])))
        wander = draw_noise(generator, 0.05, 0.1, self._loop_s)
        if self._loop_s is None or per_minute == 0:
            return per_minute / 60.0, wander
        return whole_events(per_minute, self._loop_s) / self._loop_s, wander

    def _breath(self, time_s: FloatArray) -> FloatArray:
        if self._breath_hz == 0 or self.settings.breathing == 0:
            return np.zeros_like(time_s)
        phase = self._breath_phase(time_s)
        if self._breath_shift is not None:
            phase = phase + self._breath_shift.at(time_s)
        return self.settings.breathing * (0.5 - 0.5 * np.cos(phase + BREATH_SKEW * np.sin(phase)))

    def _breath_phase(self, time_s: FloatArray) -> FloatArray:
        """Phase of the breath without speech, in radians."""
        wander = self._breath_wander.at(time_s) - self._breath_wander.at(np.zeros(1))
        return 2.0 * math.pi * self._breath_hz * time_s + BREATH_WANDER * wander
