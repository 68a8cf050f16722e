"""The motion plan: seamless, bounded, deterministic, and the same however it is cut."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_planner import EYES_HOLD_TARGET, MotionPlanner, loop_frame_count
from visema_liveportrait.motion_settings import Expression, MotionSettings
from visema_liveportrait.motion_sway import PITCH, ROLL, YAW

RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(30000, 1001)])
SEEDS = st.integers(0, 2**32 - 1)
STRENGTHS = st.floats(0.0, 2.0)
MOTIONS = st.builds(
    MotionSettings,
    blinks_per_minute=st.floats(0.5, 40.0) | st.just(0.0),
    blink_duration_ms=st.floats(120.0, 400.0),
    head_motion=STRENGTHS,
    breaths_per_minute=st.floats(4.0, 40.0) | st.just(0.0),
    breathing=STRENGTHS,
    gaze_wander=STRENGTHS,
    expression=st.sampled_from(Expression),
    expression_strength=st.floats(0.0, 1.0),
    seed=SEEDS,
)


def looped(motion: MotionSettings, rate: Fraction, nominal_s: float = 10.0) -> tuple[MotionPlanner, int]:
    frames = loop_frame_count(motion, rate, nominal_s, round(rate))
    return MotionPlanner(motion, rate, frames), frames


def blinks_of(openness: np.ndarray) -> list[tuple[int, int]]:
    closed = np.diff(np.r_[0, (openness < 0.8).astype(int), 0])
    return list(zip(np.flatnonzero(closed == 1), np.flatnonzero(closed == -1), strict=True))


def test_a_default_loop_shows_natural_figures() -> None:
    planner, frames = looped(MotionSettings(), Fraction(25))
    plan = planner.plan(0, frames)
    assert frames == 250
    assert 2 <= len(blinks_of(plan.left_open)) <= 4
    assert 1.0 < np.abs(plan.yaw_deg).max() <= YAW.peak + 0.01
    assert 0.7 < np.abs(plan.pitch_deg).max() <= PITCH.peak + 0.01
    assert plan.breath.max() == pytest.approx(1.0, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(MOTIONS, RATES)
def test_the_first_frame_of_a_motion_is_the_portrait_itself(motion: MotionSettings, rate: Fraction) -> None:
    for planner in (looped(motion, rate)[0], MotionPlanner(motion, rate, None)):
        plan = planner.plan(0, 1)
        for name, series in plan.series().items():
            resting = {"left_open": 1.0, "right_open": 1.0}.get(name, 0.0)
            if name != "expression_weight":
                assert series[0] == pytest.approx(resting, abs=1e-5), name


@settings(max_examples=40, deadline=None)
@given(MOTIONS, RATES)
def test_a_loop_closes_with_a_step_like_any_other(motion: MotionSettings, rate: Fraction) -> None:
    planner, frames = looped(motion, rate)
    plan = planner.plan(0, frames + 1)
    for name, series in plan.series().items():
        steps = np.abs(np.diff(series))
        assert series[frames] == series[0], name
        assert steps[-1] <= 1.3 * steps[:-1].max() + 1e-4, name  # the fastest step may be this one


@settings(max_examples=60, deadline=None)
@given(MOTIONS, RATES)
def test_values_stay_within_their_bounds(motion: MotionSettings, rate: Fraction) -> None:
    for planner in (looped(motion, rate)[0], MotionPlanner(motion, rate, None)):
        plan = planner.plan(0, 700)
        assert all(np.isfinite(series).all() for series in plan.series().values())
        assert np.abs(plan.yaw_deg).max() <= YAW.peak * motion.head_motion + 1e-6
        assert np.abs(plan.roll_deg).max() <= ROLL.peak * motion.head_motion + 1e-6
        assert plan.breath.min() >= 0.0
        assert plan.breath.max() <= motion.breathing + 1e-6
        assert plan.left_open.min() >= 0.0
        assert plan.left_open.max() <= 1.0
        assert (
            np.abs(plan.gaze_x_deg).max()
            <= 6.5 * motion.gaze_wander + EYES_HOLD_TARGET * YAW.peak * motion.head_motion + 1e-5
        )
        expressive = motion.expression is not Expression.NEUTRAL
        assert plan.expression_weight[0] == pytest.approx(motion.expression_strength if expressive else 0.0)


@settings(max_examples=40, deadline=None)
@given(MOTIONS, RATES, st.integers(0, 100_000), st.integers(1, 60), st.integers(1, 59))
def test_a_plan_does_not_depend_on_how_it_is_cut(
    motion: MotionSettings, rate: Fraction, first: int, count: int, cut: int
) -> None:
    for loop_frames in (None, 240):
        whole = MotionPlanner(motion, rate, loop_frames).plan(first, count + cut)
        again = MotionPlanner(motion, rate, loop_frames)
        last, head = again.plan(first + count, cut), again.plan(first, count)
        for name, series in whole.series().items():
            np.testing.assert_array_equal(series[:count], head.series()[name], name)
            np.testing.assert_array_equal(series[count:], last.series()[name], name)


@settings(max_examples=30, deadline=None)
@given(st.floats(6.0, 40.0), st.floats(120.0, 400.0), RATES, SEEDS)
def test_blinks_come_at_the_rate_and_with_the_length_that_were_asked_for(
    per_minute: float, duration_ms: float, rate: Fraction, seed: int
) -> None:
    motion = MotionSettings(blinks_per_minute=per_minute, blink_duration_ms=duration_ms, seed=seed)
    planner, frames = looped(motion, rate)
    loop_blinks = blinks_of(planner.plan(0, frames).left_open)
    assert abs(len(loop_blinks) - per_minute * float(frames / rate) / 60.0) <= 0.51
    minutes = 4
    plan = MotionPlanner(motion, rate, None).plan(0, int(60 * minutes * rate))
    found = blinks_of(plan.left_open)
    assert abs(len(found) - minutes * per_minute) <= 1
    found = [(start, end) for start, end in found if end < len(plan)]  # the last one may be cut
    lengths_ms = [(end - start) / float(rate) * 1000 for start, end in found]
    frame_ms = 1000 / float(rate)
    # A blink is counted while the eye is less than 80 % open, which leaves out its very beginning and end.
    assert min(lengths_ms) >= 0.5 * duration_ms - frame_ms
    assert max(lengths_ms) <= 1.15 * duration_ms + 2 * frame_ms
    assert all(plan.left_open[start:end].min() < 0.2 for start, end in found)


@pytest.mark.parametrize(
    ("motion", "still"),
    [
        (MotionSettings(blinks_per_minute=0), ("left_open", "right_open")),
        (MotionSettings(blink_duration_ms=0), ("left_open", "right_open")),
        (MotionSettings(head_motion=0), ("yaw_deg", "pitch_deg", "roll_deg", "shift_x", "shift_y")),
        (MotionSettings(breaths_per_minute=0), ("breath",)),
        (MotionSettings(breathing=0), ("breath",)),
        (MotionSettings(gaze_wander=0, head_motion=0), ("gaze_x_deg", "gaze_y_deg")),
        (MotionSettings(expression=Expression.HAPPY, expression_strength=0), ("expression_weight",)),
    ],
)
def test_zero_turns_a_motion_off(motion: MotionSettings, still: tuple[str, ...]) -> None:
    plan = looped(motion, Fraction(25))[0].plan(0, 250)
    for name in still:
        assert np.ptp(plan.series()[name]) == 0.0, name


@pytest.mark.parametrize("seed", range(12))
def test_the_head_moves_visibly_in_the_first_five_seconds(seed: int) -> None:
    plan = looped(MotionSettings(seed=seed), Fraction(25))[0].plan(0, 125)
    for series, least_deg in ((plan.yaw_deg, 2.0), (plan.pitch_deg, 1.3), (plan.roll_deg, 0.9)):
        assert np.abs(series - np.median(series)).max() > least_deg


def test_another_seed_gives_another_motion_and_the_same_seed_the_same() -> None:
    one, two, three = (looped(MotionSettings(seed=seed), Fraction(25))[0].plan(0, 250) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.yaw_deg, two.yaw_deg)
    assert np.abs(one.yaw_deg - three.yaw_deg).max() > 0.5
    assert not np.array_equal(one.left_open, three.left_open)


def test_an_endless_motion_does_not_repeat_and_goes_on_after_hours() -> None:
    planner = MotionPlanner(MotionSettings(), Fraction(25), None)
    late = 25 * 3600 * 5
    assert np.abs(planner.plan(0, 250).yaw_deg - planner.plan(250, 250).yaw_deg).max() > 0.5
    assert blinks_of(planner.plan(late, 1500).left_open)


def test_the_same_motion_at_another_frame_rate_passes_through_the_same_poses() -> None:
    slow = MotionPlanner(MotionSettings(blinks_per_minute=0), Fraction(25), 250).plan(0, 250)
    fast = MotionPlanner(MotionSettings(blinks_per_minute=0), Fraction(50), 500).plan(0, 500)
    np.testing.assert_allclose(fast.yaw_deg[::2], slow.yaw_deg, atol=1e-4)


@pytest.mark.parametrize(
    ("motion", "nominal_s", "seconds"),
    [
        (MotionSettings(), 10.0, 10),
        (MotionSettings(blinks_per_minute=3), 10.0, 20),
        (MotionSettings(breaths_per_minute=4), 10.0, 15),
        (MotionSettings(blinks_per_minute=0.2), 10.0, 60),
        (MotionSettings(), 1.0, 1),
    ],
)
def test_a_loop_is_long_enough_for_a_blink_and_a_breath(motion: MotionSettings, nominal_s: float, seconds: int) -> None:
    assert loop_frame_count(motion, Fraction(25), nominal_s, 25) == 25 * seconds


@pytest.mark.parametrize(
    "wrong",
    [{"head_motion": 2.1}, {"blink_duration_ms": 80.0}, {"seed": -1}, {"breathing": float("nan")}, {"seed": 2**32}],
)
def test_settings_beyond_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MotionSettings(**wrong)


def test_a_plan_of_unequal_series_is_refused() -> None:
    plan = looped(MotionSettings(), Fraction(25))[0].plan(0, 10)
    values = plan.series() | {"yaw_deg": plan.yaw_deg[:5]}
    with pytest.raises(ValueError, match="different lengths"):
        MotionPlan(**values, expression=Expression.NEUTRAL)
