"""How good a video is: adds up what lip-sync measured on its segments and judges the sums; see docs/quality.md.

Everything comes from sums, so memory does not grow with the video, and a segment counts once wherever it was computed.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from visema.common.v1 import common_pb2

OPENING_STEP: Final = 0.1  # per cent of the face's height: width of a place of `openings`
OPENING_STEPS: Final = 250  # 25 %: no mouth opens wider; the last place takes what does
_LEAST_FRAMES, _LEAST_SPEECH_FRAMES, _LEAST_SILENT_FRAMES = 20, 10, 5  # fewer tell nothing
_STILL_RANGE = 0.5  # per cent of the face's height, about a pixel of a face of 200: noise of the measurement
_CLOSED_SHARE = 0.2  # of the range above the most closed mouth
_LEAST_CORRELATION = 0.25  # a lower peak says nothing about the lag
_BEST_PSNR_DB = 99.0
_LIST_SUMS = ("openings", "silent_openings", "loudness_sums", "loudness_square_sums", "product_sums")


@dataclass(frozen=True, slots=True)
class Mark:
    """One figure's share of the score: nothing at `worst`, all from `best` on, linear between.

    Attributes:
        weight: Of 100, as long as every figure is there.
    """

    weight: int
    worst: float
    best: float

    def points(self, figure: float) -> float:
        """0 to `weight`."""
        return self.weight * min(max((figure - self.worst) / (self.best - self.worst), 0.0), 1.0)


CORRELATION: Final = Mark(30, 0.1, 0.8)
LAG_MS: Final = Mark(15, 200.0, 40.0)  # whichever way; 40 ms is a frame
MOUTH_RANGE: Final = Mark(15, 0.5, 4.0)
CLOSED_IN_SILENCE: Final = Mark(15, 0.5, 0.95)
PRESERVATION_DB: Final = Mark(15, 30.0, 42.0)
FLICKER_LEVELS: Final = Mark(10, 4.0, 1.5)

WARN_NO_SPEECH: Final = "No speech is heard in the audio."
WARN_STILL: Final = "The mouth hardly moves although somebody speaks."
WARN_LOOSE: Final = "The lips follow the speech loosely; clear speech without music and noise looks better."
WARN_OPEN: Final = "The mouth does not close in pauses."
WARN_CHANGED: Final = "The picture changes outside the mouth."
WARN_FLICKER: Final = "The picture flickers."
_WARN_LAG_MS, _WARN_RANGE, _WARN_CORRELATION, _WARN_CLOSED, _WARN_PSNR_DB, _WARN_LEVELS = 80.0, 1.0, 0.4, 0.8, 36.0, 3.0


def add_quality(total: common_pb2.QualityStatistics, part: common_pb2.QualityStatistics) -> None:
    """Add the sums of `part` to `total`."""
    for field, value in part.ListFields():
        if field.name in _LIST_SUMS:
            _add_places(getattr(total, field.name), value)
        else:
            setattr(total, field.name, getattr(total, field.name) + value)


def _add_places(total: MutableSequence[float], part: Sequence[float]) -> None:
    shared = min(len(total), len(part))
    for place in range(shared):
        total[place] += part[place]
    total.extend(part[shared:])


def quality_report(sums: common_pb2.QualityStatistics, frame_rate: Fraction) -> common_pb2.QualityReport | None:
    """Judge a video by the sums over its frames. Returns: None when no mouth was measured."""
    if not sums.frame_count:
        return None
    report = common_pb2.QualityReport(frame_count=sums.frame_count)
    low, high = (_percentile(sums.openings, share) for share in (0.05, 0.95))
    report.mouth_range_percent = high - low
    speaks = sums.speech_frame_count >= _LEAST_SPEECH_FRAMES and sums.frame_count >= _LEAST_FRAMES
    if speaks:
        _judge_sync(report, sums, frame_rate)
    if sum(sums.silent_openings) >= _LEAST_SILENT_FRAMES:
        limit = _percentile(sums.openings, 0.02) + max(_CLOSED_SHARE * (high - low), _STILL_RANGE)
        report.closed_in_silence_ratio = _share_below(sums.silent_openings, limit)
    if sums.outside_value_count:
        mean_square = sums.outside_square_sum / sums.outside_value_count
        exact = 255.0**2 / 10 ** (_BEST_PSNR_DB / 10)
        report.preservation_db = 10 * math.log10(255.0**2 / max(mean_square, exact))
    if sums.flicker_pair_count:
        report.flicker_levels = sums.flicker_sum / sums.flicker_pair_count
    report.score = _score(report, speaks=speaks)
    report.warnings.extend(_warnings(report, silent=not sums.speech_frame_count, speaks=speaks))
    return report


def _judge_sync(report: common_pb2.QualityReport, sums: common_pb2.QualityStatistics, frame_rate: Fraction) -> None:
    """Correlation and lag; a mouth that is still has no lag, and one that moves with nothing neither."""
    report.correlation = 0.0
    if report.mouth_range_percent < _STILL_RANGE:
        return
    curve = [_correlation(sums, place) for place in range(len(sums.product_sums))]
    middle = len(curve) // 2
    report.correlation = curve[middle]
    best = max(range(len(curve)), key=curve.__getitem__)
    if curve[best] >= _LEAST_CORRELATION:
        report.lag_ms = (best - middle + _vertex(curve, best)) * float(1000 / frame_rate)


def _correlation(sums: common_pb2.QualityStatistics, place: int) -> float:
    """Of opening and loudness for one shift, -1 to 1; 0 where one of them does not vary."""
    count, loudness = sums.frame_count, sums.loudness_sums[place]
    varies = (sums.opening_square_sum - sums.opening_sum**2 / count) * (
        sums.loudness_square_sums[place] - loudness**2 / count
    )
    if varies <= 1e-9:  # noqa: PLR2004 - rounding
        return 0.0
    return (sums.product_sums[place] - sums.opening_sum * loudness / count) / math.sqrt(varies)


def _vertex(curve: Sequence[float], top: int) -> float:
    """Where between its neighbours the peak at `top` really lies, -0.5 to 0.5 places: the vertex of a parabola."""
    if not 0 < top < len(curve) - 1:
        return 0.0
    bend = curve[top - 1] - 2 * curve[top] + curve[top + 1]
    return 0.5 * (curve[top - 1] - curve[top + 1]) / bend if bend < -1e-9 else 0.0  # noqa: PLR2004 - rounding


def _percentile(counts: Sequence[int], share: float) -> float:
    """The opening below which `share` of the frames lie, interpolated within its step."""
    wanted, before = share * sum(counts), 0
    for place, count in enumerate(counts):
        if count and before + count >= wanted:
            return OPENING_STEP * (place + (wanted - before) / count)
        before += count
    return OPENING_STEP * len(counts)


def _share_below(counts: Sequence[int], limit: float) -> float:
    """Share of the frames in the steps whose middle lies below `limit`."""
    return sum(count for place, count in enumerate(counts) if OPENING_STEP * (place + 0.5) < limit) / sum(counts)


def _score(report: common_pb2.QualityReport, *, speaks: bool) -> int:
    """Weighted mean of the figures that there are; lips that move with nothing earn nothing for their lag."""
    marks: list[tuple[Mark, float]] = []
    if speaks:
        marks.append((CORRELATION, report.correlation))
        marks.append((LAG_MS, abs(report.lag_ms) if report.HasField("lag_ms") else LAG_MS.worst))
        marks.append((MOUTH_RANGE, report.mouth_range_percent))
    if report.HasField("closed_in_silence_ratio"):
        marks.append((CLOSED_IN_SILENCE, report.closed_in_silence_ratio))
    if report.HasField("preservation_db"):
        marks.append((PRESERVATION_DB, report.preservation_db))
    if report.HasField("flicker_levels"):
        marks.append((FLICKER_LEVELS, report.flicker_levels))
    whole = sum(mark.weight for mark, _ in marks)
    return round(100 * sum(mark.points(figure) for mark, figure in marks) / whole) if whole else 0


def _warnings(report: common_pb2.QualityReport, *, silent: bool, speaks: bool) -> list[str]:
    warnings = [WARN_NO_SPEECH] if silent else []
    if speaks and report.mouth_range_percent < _WARN_RANGE:
        warnings.append(WARN_STILL)
    elif report.HasField("lag_ms") and abs(report.lag_ms) > _WARN_LAG_MS:
        warnings.append(lag_warning(report.lag_ms))
    elif speaks and report.correlation < _WARN_CORRELATION:
        warnings.append(WARN_LOOSE)
    if report.HasField("closed_in_silence_ratio") and report.closed_in_silence_ratio < _WARN_CLOSED:
        warnings.append(WARN_OPEN)
    if report.HasField("preservation_db") and report.preservation_db < _WARN_PSNR_DB:
        warnings.append(WARN_CHANGED)
    if report.HasField("flicker_levels") and report.flicker_levels > _WARN_LEVELS:
        warnings.append(WARN_FLICKER)
    return warnings


def lag_warning(lag_ms: float) -> str:
    """Says how late the lips are, or how early."""
    return f"The lips are {abs(lag_ms):.0f} ms {'late' if lag_ms > 0 else 'early'}."
