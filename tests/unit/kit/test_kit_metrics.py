"""Metrics hold the targets exactly and keep their labels small."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import Histogram, MetricWrapperBase
from visema_kit.metrics import SLO_TARGETS_S, Metrics, job_target_s
from visema_kit.metrics_server import serve_metrics
from visema_kit.tracing import Tracing

IDENTIFIERS = {"job", "job_id", "work_id", "tenant", "key", "avatar_id", "trace_id", "request_id", "peer"}


def metrics_of(metrics: Metrics) -> list[MetricWrapperBase]:
    return [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]


@pytest.mark.parametrize("name", ["stage_duration", "stage_first_segment", "job_duration"])
def test_every_target_is_a_bucket_of_the_durations(name: str) -> None:
    histogram = getattr(Metrics(), name)
    assert isinstance(histogram, Histogram)
    assert set(SLO_TARGETS_S.values()) == {0.5, 1.0, 2.0, 3.5}
    assert set(SLO_TARGETS_S.values()) <= set(histogram._upper_bounds)


def test_the_target_ratio_has_a_bucket_at_exactly_one() -> None:
    assert 1.0 in Metrics().job_target_ratio._upper_bounds


def test_names_have_the_prefix_and_base_units_and_labels_are_no_identifiers() -> None:
    for metric in metrics_of(Metrics()):
        assert metric._name.startswith("visema_")
        assert not metric._name.endswith(("_ms", "_milliseconds", "_kb", "_mb", "_percent"))
        assert not set(metric._labelnames) & IDENTIFIERS


@pytest.mark.parametrize(("video_s", "target_s"), [(0.0, 3.5), (5.0, 3.5), (10.0, 7.0), (60.0, 42.0)])
def test_the_target_grows_with_the_video_after_five_seconds(video_s: float, target_s: float) -> None:
    assert job_target_s(video_s) == pytest.approx(target_s)


def test_a_job_within_its_target_counts_as_such() -> None:
    metrics = Metrics()
    metrics.observe_job(duration_s=3.5, video_s=5.0, prepared=True, engine="embedded")
    metrics.observe_job(duration_s=3.6, video_s=5.0, prepared=True, engine="embedded")
    metrics.observe_job(duration_s=1.0, video_s=0.0, prepared=False, engine="embedded", outcome="failed")
    value = metrics.registry.get_sample_value
    labels = {"prepared": "true", "engine": "embedded"}
    assert value("visema_job_target_ratio_bucket", labels | {"le": "1.0"}) == 1
    assert value("visema_job_target_ratio_count", labels) == 2
    assert value("visema_job_duration_seconds_count", {"outcome": "failed", "prepared": "false"}) == 1


def test_a_job_with_a_quality_report_counts_its_score() -> None:
    metrics = Metrics()
    for score in (97, 42, None):
        metrics.observe_job(duration_s=1.0, video_s=5.0, prepared=True, engine="embedded", quality_score=score)
    value = metrics.registry.get_sample_value
    assert value("visema_job_quality_score_count", {"engine": "embedded"}) == 2
    assert value("visema_job_quality_score_bucket", {"engine": "embedded", "le": "50.0"}) == 1


def test_targets_are_series_and_two_registries_do_not_meet() -> None:
    first, second = Metrics(), Metrics(CollectorRegistry())
    first.queue_jobs.set(3)
    assert second.registry.get_sample_value("visema_queue_jobs") == 0
    assert first.registry.get_sample_value("visema_slo_target_seconds", {"stage": "total"}) == 3.5
    first.describe_process("test")
    first.describe_process("test")
    assert b"visema_build_info{" in generate_latest(first.registry)


@pytest.mark.parametrize(
    ("accept", "links"), [("application/openmetrics-text;version=1.0.0", 3), ("text/plain;version=0.0.4", 0)]
)
def test_a_scrape_in_the_openmetrics_format_links_values_to_traces(accept: str, links: int) -> None:
    metrics = Metrics()
    with Tracing().span("job") as trace:
        metrics.observe_job(duration_s=3.5, video_s=5.0, prepared=True, engine="embedded")
    metrics.observe_job(duration_s=9.0, video_s=5.0, prepared=True, engine="embedded")  # of no trace
    with serve_metrics("127.0.0.1", 0, metrics.registry) as port:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request) as reply:
            text = reply.read().decode()
    assert text.count(f'# {{trace_id="{trace.trace_id}"}}') == links
    assert text.count("# {") == links


def test_a_port_that_is_taken_is_an_error() -> None:
    registry = Metrics().registry
    with (
        serve_metrics("127.0.0.1", 0, registry) as port,
        pytest.raises(OSError, match="in use"),
        serve_metrics("127.0.0.1", port, registry),
    ):
        pass
