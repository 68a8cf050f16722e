"""What a job waited for: parts that add up to its duration."""

from __future__ import annotations

import pytest
from visema.orchestrator.v1 import jobs_pb2
from visema_orchestrator.report import critical_path_s
from visema_orchestrator.timeline import to_duration


def timeline(stage: str, start_s: float, last_s: float | None, end_s: float) -> jobs_pb2.StageTimeline:
    message = jobs_pb2.StageTimeline(stage=stage, start_offset=to_duration(start_s), end_offset=to_duration(end_s))
    if last_s is not None:
        message.last_segment_offset.CopyFrom(to_duration(last_s))
    return message


def test_each_stage_counts_from_the_last_segment_before_it_to_its_own():
    report = jobs_pb2.JobReport(
        stages=[
            timeline("liveportrait", 0.2, 1.2, 1.2),
            timeline("wav2lip", 0.2, 1.9, 1.9),
            timeline("encoder", 0.2, 2.0, 2.4),
        ]
    )
    parts = critical_path_s(report, 2.5)
    assert parts == pytest.approx({"prepare": 0.2, "liveportrait": 1.0, "wav2lip": 0.7, "encoder": 0.5, "publish": 0.1})
    assert sum(parts.values()) == pytest.approx(2.5)


def test_spoken_text_comes_before_everything():
    report = jobs_pb2.JobReport(
        stages=[
            timeline("speech", 0.0, None, 0.6),
            timeline("liveportrait", 0.7, 1.0, 1.0),
            timeline("wav2lip", 0.7, 1.5, 1.5),
            timeline("encoder", 0.7, 1.6, 1.7),
        ]
    )
    parts = critical_path_s(report, 1.7)
    assert parts["speech"] == pytest.approx(0.6)
    assert sum(parts.values()) == pytest.approx(1.7)


def test_a_recovered_job_has_no_negative_parts():
    report = jobs_pb2.JobReport(
        stages=[
            timeline("liveportrait", 0.1, 2.0, 2.0),
            timeline("wav2lip", 0.1, 0.4, 2.1),
            timeline("encoder", 0.1, None, 2.2),
        ]
    )
    assert all(seconds >= 0 for seconds in critical_path_s(report, 2.1).values())
