"""What speech does to a motion: nods and brows at accents, blinks at the ends of phrases, breath in pauses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import MotionSettings
from visema_liveportrait.motion_speech import BEAT_DISTANCE_S, NOD_DEG
from visema_liveportrait.speech_cues import Nucleus, Pause, SpeechCues

RATE = Fraction(25)
RATES = st.sampled_from([Fraction(24), RATE, Fraction(30000, 1001)])
ENDLESS = MotionSettings(loop=False)
SEEDS = range(1, 7)

Recordings = st.builds(
    lambda nuclei, pauses: SpeechCues(
        tuple(Nucleus(time_s, prominence) for time_s, prominence in sorted(nuclei)),
        tuple(Pause(start_s, start_s + length_s) for start_s, length_s in sorted(pauses)),
    ),
    st.lists(st.tuples(st.floats(0, 60), st.floats(0, 4)), max_size=80),
    st.lists(st.tuples(st.floats(0.05, 60), st.floats(0.25, 4)), max_size=15),
)


def talk(seed: int, length_s: float = 60.0) -> SpeechCues:
    """Five syllables a second, some of them accented, and a pause every few seconds."""
    generator = np.random.default_rng(seed)
    nuclei, pauses, now_s = [], [], 0.3
    while now_s < length_s:
        phrase_s = generator.uniform(1.8, 5.0)
        nuclei += [Nucleus(float(at), float(generator.exponential(0.7))) for at in np.arange(0, phrase_s, 0.2) + now_s]
        now_s += phrase_s
        pauses.append(Pause(now_s, now_s + generator.uniform(0.3, 0.9)))
        now_s = pauses[-1].end_s + 0.1
    return SpeechCues(tuple(nuclei), tuple(pauses))


def plan_of(motion: MotionSettings, cues: SpeechCues | None, frames: int = 1500) -> MotionPlan:
    return MotionPlanner(motion, RATE, None, cues).plan(0, frames)


def same(one: MotionPlan, other: MotionPlan) -> bool:
    return all(series.tobytes() == other.series()[name].tobytes() for name, series in one.series().items())


def added(name: str, motion: MotionSettings, cues: SpeechCues) -> np.ndarray:
    """What the speech adds to a series."""
    return plan_of(motion, cues).series()[name] - plan_of(motion, None).series()[name]


def blinks_s(plan: MotionPlan) -> np.ndarray:
    """Middles of the blinks."""
    closed = np.diff(np.r_[0, (plan.left_open < 0.5).astype(int), 0])
    return (np.flatnonzero(closed == 1) + np.flatnonzero(closed == -1) - 1) / 2 / float(RATE)


def near_phrase_ends(plan: MotionPlan, cues: SpeechCues) -> int:
    return sum(bool((np.abs(blinks_s(plan) - pause.start_s - 0.1) < 0.3).any()) for pause in cues.pauses[:-1])


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_the_head_nods_or_turns_at_the_strongest_accents_and_rests_between(seed: int) -> None:
    accents_s = [1.0, 2.5, 4.0, 8.0, 9.0]
    cues = SpeechCues((*tuple(Nucleus(time_s, 2.5) for time_s in accents_s), Nucleus(6.0, 0.2)))
    motion = replace(ENDLESS, seed=seed)
    turn = sum(np.abs(added(name, motion, cues)) for name in ("yaw_deg", "pitch_deg", "roll_deg"))
    time_s = np.arange(len(turn)) / float(RATE)
    distance_s = np.abs(time_s[:, None] - np.array(accents_s)).min(axis=1)
    assert turn[distance_s < 0.03].min() > NOD_DEG[0]
    assert turn[distance_s > 0.36].max() < 1e-4
    assert np.abs(added("brow_lift", motion, cues)[distance_s > 0.37]).max() < 1e-6
    assert added("brow_lift", motion, cues).max() > 0.004


def test_most_beats_are_nods_and_some_are_turns_to_either_side() -> None:
    nods = left = right = 0
    for seed in SEEDS:
        cues = SpeechCues(tuple(Nucleus(2.0 * number, 2.5) for number in range(1, 29)))
        yaw = added("yaw_deg", replace(ENDLESS, seed=seed), cues)[50:1450:50]
        nods, left, right = nods + (np.abs(yaw) < 0.1).sum(), left + (yaw < -0.1).sum(), right + (yaw > 0.1).sum()
    assert 0.65 < nods / (nods + left + right) < 0.85
    assert min(left, right) > 0.3 * max(left, right)


def test_accents_in_quick_succession_make_one_nod_at_the_strongest() -> None:
    cues = SpeechCues((Nucleus(2.0, 1.2), Nucleus(2.3, 3.0), Nucleus(2.6, 1.1)))
    turns = MotionPlanner(ENDLESS, RATE, None, cues)._gestures  # the beats themselves
    assert turns is not None
    assert turns.turns.middles_s == pytest.approx([2.3], abs=0.06)
    crowd = MotionPlanner(ENDLESS, RATE, None, talk(3))._gestures
    assert crowd is not None
    assert np.diff(crowd.turns.middles_s).min() >= BEAT_DISTANCE_S - 0.05
    assert len(crowd.turns.middles_s) > 15


def test_a_stronger_setting_nods_more_and_little_head_motion_nods_less() -> None:
    cues = talk(1)

    def size(**changes: float) -> float:
        return float(np.abs(added("pitch_deg", replace(ENDLESS, **changes), cues)).max())

    assert size(speech_motion=0.5) == pytest.approx(size() / 2, rel=1e-3)
    assert size(speech_motion=2.0) == pytest.approx(size() * 2, rel=1e-3)
    assert size(head_motion=0.5) == pytest.approx(size() / 2, rel=1e-3)
    assert size(head_motion=2.0) == pytest.approx(size(), rel=1e-3)
    assert size(head_motion=0.0) == 0.0


def test_nothing_follows_at_strength_zero_in_a_loop_without_speech_or_in_silence() -> None:
    still, cues = plan_of(ENDLESS, None), talk(1)
    assert same(plan_of(replace(ENDLESS, speech_motion=0), cues), still)
    assert same(plan_of(ENDLESS, SpeechCues()), still)
    loop = MotionPlanner(MotionSettings(), RATE, 250).plan(0, 300)
    assert same(MotionPlanner(MotionSettings(), RATE, 250, cues).plan(0, 300), loop)
    assert not same(plan_of(ENDLESS, cues), still)


@settings(max_examples=20, deadline=None)
@given(Recordings, RATES, st.integers(0, 1500), st.integers(1, 60), st.integers(1, 59))
def test_ranges_that_are_planned_apart_are_the_whole(
    cues: SpeechCues, rate: Fraction, first: int, count: int, cut: int
) -> None:
    whole = MotionPlanner(ENDLESS, rate, None, cues).plan(first, count + cut)
    again = MotionPlanner(ENDLESS, rate, None, cues)
    last, head = again.plan(first + count, cut), again.plan(first, count)
    for name, series in whole.series().items():
        np.testing.assert_array_equal(series[:count], head.series()[name], name)
        np.testing.assert_array_equal(series[count:], last.series()[name], name)


@settings(max_examples=12, deadline=None)
@given(Recordings, st.integers(1, 2**32 - 1), st.floats(0, 2), st.floats(4, 40))
def test_any_speech_leaves_the_first_frame_alone_and_every_value_within_bounds(
    cues: SpeechCues, seed: int, strength: float, blinks: float
) -> None:
    motion = replace(ENDLESS, seed=seed, speech_motion=strength, blinks_per_minute=blinks)
    plan, still = plan_of(motion, cues), plan_of(motion, None)
    for name, series in plan.series().items():
        assert np.isfinite(series).all(), name
        assert series[0] == still.series()[name][0], name
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert np.abs(plan.series()[name] - still.series()[name]).max() <= NOD_DEG[1] * strength + 1e-5
    assert 0 <= plan.breath.min() <= plan.breath.max() <= 1 + 1e-6
    assert 0 <= plan.left_open.min() <= plan.left_open.max() <= 1
    assert np.abs(np.diff(plan.breath)).max() < 0.14  # a breath at most twice as fast as usual


def test_no_blink_moves_into_the_first_frame() -> None:
    """A word of a twentieth of a second ends there."""
    for seed in range(200):
        motion = replace(ENDLESS, seed=seed, blinks_per_minute=30, blink_duration_ms=400)
        assert plan_of(motion, SpeechCues(pauses=(Pause(0.06, 0.6),)), frames=1).left_open[0] == 1.0


def test_blinks_gather_at_the_ends_of_phrases_at_the_same_rate() -> None:
    ends = with_speech = without = 0
    for seed in SEEDS:
        cues, motion = talk(seed), replace(ENDLESS, seed=seed)
        following, alone = plan_of(motion, cues), plan_of(motion, None)
        ends += len(cues.pauses) - 1
        with_speech, without = with_speech + near_phrase_ends(following, cues), without + near_phrase_ends(alone, cues)
        assert abs(len(blinks_s(following)) - len(blinks_s(alone))) <= 1  # one may leave at the end
        assert np.diff(blinks_s(following)).min() > 0.6
        assert 8 <= len(blinks_s(following)) <= 30
    assert with_speech > 0.4 * ends
    assert with_speech > 2 * without


def test_breath_is_drawn_in_pauses_at_nearly_the_same_rate() -> None:
    rising = alone = pauses = 0
    for seed in SEEDS:
        cues, motion = talk(seed), replace(ENDLESS, seed=seed)
        middles = [
            int((pause.start_s + min(pause.end_s - pause.start_s, 1.0) / 2) * RATE) for pause in cues.pauses[1:-1]
        ]
        for plan, following in ((plan_of(motion, cues), True), (plan_of(motion, None), False)):
            up = int((np.diff(plan.breath)[middles] > 0).sum())
            rising, alone = rising + up * following, alone + up * (not following)
            crests = (np.diff(np.sign(np.diff(plan.breath))) < 0).sum()
            assert 11 <= crests <= 23  # of 16 in a minute
        pauses += len(middles)
    assert rising > 0.7 * pauses
    assert rising > 1.3 * alone
