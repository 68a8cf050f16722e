"""Sums over segments become figures, a score and warnings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from visema.common.v1 import common_pb2
from visema_kit.quality import (
    CLOSED_IN_SILENCE,
    CORRELATION,
    FLICKER_LEVELS,
    LAG_MS,
    MOUTH_RANGE,
    OPENING_STEP,
    OPENING_STEPS,
    PRESERVATION_DB,
    WARN_LOOSE,
    WARN_NO_SPEECH,
    add_quality,
    quality_report,
)

RATE = Fraction(25)
REACH = 10
SPOKEN = [math.sin(i / 2) * 0.5 + 0.5 if i % 40 < 28 else 0.0 for i in range(120)]


def sums(
    openings: Sequence[float], loudness: Sequence[float] = SPOKEN, first: int = 0, *, reach: int = REACH
) -> common_pb2.QualityStatistics:
    """What a meter adds up for frames from `first` on."""
    total = common_pb2.QualityStatistics(openings=[0] * OPENING_STEPS, silent_openings=[0] * OPENING_STEPS)
    total.frame_count = len(openings)
    for offset, opening in enumerate(openings):
        frame = first + offset
        total.speech_frame_count += loudness[frame] > 0
        total.openings[int(opening / OPENING_STEP)] += 1
        total.silent_openings[int(opening / OPENING_STEP)] += loudness[frame] == 0
        total.opening_sum += opening
        total.opening_square_sum += opening**2
    for lag in range(-reach, reach + 1):
        heard = [
            loudness[frame - lag] if 0 <= frame - lag < len(loudness) else 0.0
            for frame in range(first, first + len(openings))
        ]
        total.loudness_sums.append(sum(heard))
        total.loudness_square_sums.append(sum(value**2 for value in heard))
        total.product_sums.append(sum(value * opening for value, opening in zip(heard, openings, strict=True)))
    return total


def report(total: common_pb2.QualityStatistics) -> common_pb2.QualityReport:
    made = quality_report(total, RATE)
    assert made is not None
    return made


def following(loudness: Sequence[float] = SPOKEN, late: int = 0) -> list[float]:
    """Openings that follow the loudness."""
    return [8 * loudness[i - late] if 0 <= i - late < len(loudness) else 0.0 for i in range(len(loudness))]


def test_nothing_measured_gives_no_report() -> None:
    assert quality_report(common_pb2.QualityStatistics(), RATE) is None


def test_lips_that_follow_exactly_earn_everything() -> None:
    made = report(sums(following()))
    assert made.score == 100
    assert made.lag_ms == pytest.approx(0, abs=1)
    assert made.correlation == pytest.approx(1)
    assert made.mouth_range_percent == pytest.approx(8, abs=0.3)
    assert made.closed_in_silence_ratio == 1
    assert not made.warnings


@pytest.mark.parametrize("late", [-6, -2, 3, 7])
def test_the_lag_is_found_with_its_sign(late: int) -> None:
    made = report(sums(following(late=late)))
    assert made.lag_ms == pytest.approx(40 * late, abs=8)
    assert made.score < 100
    if abs(late) > 2:
        assert made.warnings[0] == f"The lips are {abs(made.lag_ms):.0f} ms {'late' if late > 0 else 'early'}."


def test_lips_that_move_with_nothing_have_no_lag() -> None:
    made = report(sums([4 + 4 * math.sin(i * i) for i in range(len(SPOKEN))]))
    assert not made.HasField("lag_ms")
    assert WARN_LOOSE in made.warnings
    assert made.score < 40


def test_parts_add_up_to_the_whole_in_any_order() -> None:
    openings = following(late=2)
    parts = [sums(openings[first : first + 25], first=first) for first in range(0, 120, 25)]
    whole = report(sums(openings))
    for order in (parts, parts[::-1]):
        total = common_pb2.QualityStatistics()
        for part in order:
            add_quality(total, part)
        made = report(total)
        assert made.frame_count == whole.frame_count
        assert made.score == whole.score
        assert made.lag_ms == pytest.approx(whole.lag_ms)
        assert made.correlation == pytest.approx(whole.correlation)
        assert made.mouth_range_percent == pytest.approx(whole.mouth_range_percent)


def test_a_shorter_list_counts_as_if_zeros_followed() -> None:
    total = common_pb2.QualityStatistics(frame_count=1, openings=[1, 2])
    add_quality(total, common_pb2.QualityStatistics(frame_count=2, openings=[1, 0, 4], flicker_sum=0.5))
    assert total == common_pb2.QualityStatistics(frame_count=3, openings=[2, 2, 4], flicker_sum=0.5)


def test_figures_that_are_absent_do_not_count() -> None:
    silent = report(sums([0.0] * 120, [0.0] * 120))
    assert not silent.HasField("correlation")
    assert not silent.HasField("preservation_db")
    assert silent.score == 100
    assert list(silent.warnings) == [WARN_NO_SPEECH]
    talkative = report(sums([8.0 * (i % 2) for i in range(60)], [float(i % 2) or 0.5 for i in range(60)]))
    assert not talkative.HasField("closed_in_silence_ratio")


def test_a_clip_that_is_too_short_to_judge_is_not_judged() -> None:
    made = report(sums(following()[:8], SPOKEN[:8]))
    assert not made.HasField("correlation")
    assert not made.HasField("lag_ms")
    assert not made.warnings


@pytest.mark.parametrize(
    ("changes", "points", "word"),
    [
        ({"outside_value_count": 100, "outside_square_sum": 100 * 65.025}, 15, "changes"),  # 30 dB
        ({"outside_value_count": 100, "outside_square_sum": 0.0}, 0, ""),
        ({"flicker_pair_count": 10, "flicker_sum": 40.0}, 10, "flickers"),
        ({"flicker_pair_count": 10, "flicker_sum": 10.0}, 0, ""),
    ],
)
def test_the_rest_of_the_picture_costs_what_the_formula_says(changes: dict[str, float], points: int, word: str) -> None:
    total = sums(following())
    for name, value in changes.items():
        setattr(total, name, value)
    made = report(total)
    weight = 15 if "outside_value_count" in changes else 10
    assert made.score == round(100 * (75 + weight - points) / (75 + weight))
    assert bool(made.warnings) is bool(word)
    assert all(word in warning for warning in made.warnings)


def test_the_score_is_made_as_the_documentation_says() -> None:
    text = (Path(__file__).parents[3] / "docs" / "quality.md").read_text()
    rows = re.findall(r"^\| (\w[\w ,%]*) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    written = [(int(weight), float(worst), float(best)) for _, weight, worst, best in rows]
    marks = (CORRELATION, LAG_MS, MOUTH_RANGE, CLOSED_IN_SILENCE, PRESERVATION_DB, FLICKER_LEVELS)
    assert written == [(mark.weight, mark.worst, mark.best) for mark in marks]
    assert sum(mark.weight for mark in marks) == 100


def test_an_untouched_picture_has_the_largest_ratio() -> None:
    made = report(common_pb2.QualityStatistics(frame_count=1, openings=[1], outside_value_count=10))
    assert made.preservation_db == pytest.approx(99)
