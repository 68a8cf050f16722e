"""A real Prometheus scrapes the real stack: what docs, rules and dashboards name exists, and every panel shows data."""

from __future__ import annotations

import json
import math
import re
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import visema_client
import yaml
from support.prometheus import Prometheus, prometheus_binary, running_prometheus
from visema.orchestrator.v1 import jobs_pb2
from visema_client import VideoSettings, Visema
from visema_client.localstack import LocalStack, LocalStackError, StackOptions
from visema_client.localstack.seaweed import find_weed
from visema_kit.errors import JobNotFound

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "visema.rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
JOBS = 20
JOBS_SEEN = 'sum(visema_job_duration_seconds_count{outcome="succeeded"})'
PATIENCE_S = 120.0
NOT_HERE = {
    "visema_engine_compiled": "compiling is an option of neural engines",
    "visema_gpu_memory_bytes": "there is no accelerator",
    "visema_job_errors_total": "comes with the first failed job",
    "visema_object_store_errors_total": "comes with the first failed operation",
}
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("monitoring"),
    pytest.mark.skipif(
        prometheus_binary() is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"
    ),
]


@dataclass(frozen=True)
class Monitored:
    """Prometheus after some jobs, and what the jobs say themselves."""

    prometheus: Prometheus
    jobs: list[jobs_pb2.Job]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    try:
        find_weed()
    except LocalStackError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    folder = tmp_path_factory.mktemp("monitoring")
    speech = folder / "speech.wav"
    portrait = Path(visema_client.__file__).parent / "samples" / "portrait.jpg"
    with wave.open(str(portrait.with_name("speech.wav"))) as source, wave.open(str(speech), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(source.getframerate()))
    options = StackOptions(variables={"VISEMA_ENGINE": "embedded"}, start_timeout_s=180)
    with LocalStack(options) as stack:
        targets = {name: service.metrics_url.split("/")[2] for name, service in stack.services.items()}
        with running_prometheus(folder, targets, RULES) as prometheus, Visema(stack.address) as client:
            spec = client.job_spec(str(portrait), str(speech), settings=VideoSettings())
            jobs = []
            for number in range(JOBS):
                if number == 2:  # one of either kind has run: rates need a scrape before and one after a job
                    wait_for(prometheus, f"{JOBS_SEEN} == 2")
                job_id = client.create_job(spec).job_id
                client.wait_job(job_id)
                jobs.append(client.get_job(job_id))
                with pytest.raises(JobNotFound):
                    client.get_job("0" * 32)
            wait_for(prometheus, f"{JOBS_SEEN} == {JOBS}")
            wait_for(prometheus, "visema:job_target_miss:ratio_rate1h >= 0")
            wait_for(prometheus, "visema:job_queue_seconds:p90_10m >= 0")
            yield Monitored(prometheus, jobs)


def wait_for(prometheus: Prometheus, expression: str) -> None:
    """Wait until the expression has a series."""
    deadline = time.monotonic() + PATIENCE_S
    while not prometheus.query(expression):
        assert time.monotonic() < deadline, f"no data: {expression}"
        time.sleep(0.2)


def names_in(text: str) -> set[str]:
    """Metrics and recorded series that a text names."""
    return set(re.findall(r"\b(?:[a-z]+:)?visema[_:][a-z0-9_]+(?::[a-z0-9_]+)*", text))


def documented_names() -> set[str]:
    names = set()
    for name, kind in re.findall(
        r"^\| `(visema_\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
    ):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def recorded_names() -> set[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def panels() -> list[tuple[str, str, str]]:
    """(dashboard, panel, query) of every query."""
    return [
        (path.stem, panel["title"], target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def executable(expression: str) -> str:
    """A query with the values that Grafana would put in."""
    return expression.replace("$__rate_interval", "10m").replace("$stage", ".*")


def test_every_name_in_docs_rules_and_dashboards_exists(monitored: Monitored):
    rules = yaml.safe_load(RULES.read_text())["groups"]
    expressions = [rule["expr"] for group in rules for rule in group["rules"]] + [query for *_, query in panels()]
    named = documented_names() | recorded_names() | set().union(*(names_in(text) for text in expressions))
    existing = set(monitored.prometheus.get("label/__name__/values"))
    assert sorted(named - existing - set(NOT_HERE)) == []
    assert set(NOT_HERE) & existing == set(), "an exception that is none any more"


@pytest.mark.parametrize(("dashboard", "panel", "query"), panels(), ids=lambda text: text[:40].replace(" ", "-"))
def test_every_panel_shows_data(monitored: Monitored, dashboard: str, panel: str, query: str):
    series = monitored.prometheus.query(executable(query))
    assert series, f"{dashboard} / {panel}: no data for {query}"
    numbers = [float(item["value"][1]) for item in series]
    assert any(math.isfinite(number) for number in numbers), f"{dashboard} / {panel}: {query} gives {numbers}"


def test_no_alert_fires_on_a_healthy_stack(monitored: Monitored):
    firing = [
        alert["labels"]["alertname"]
        for alert in monitored.prometheus.get("alerts")["alerts"]
        if alert["state"] == "firing" and alert["labels"]["severity"] == "page"
    ]
    assert firing == []


def test_every_rule_is_evaluated_without_error(monitored: Monitored):
    groups = monitored.prometheus.get("rules")["groups"]
    assert [rule for group in groups for rule in group["rules"] if rule.get("lastError")] == []


def test_the_overviews_share_within_target_agrees_with_the_jobs_reports(monitored: Monitored):
    (query,) = [query for _, panel, query in panels() if panel == "Jobs within their target"]
    within = [
        (job.end_time.ToNanoseconds() - job.start_time.ToNanoseconds()) <= job.report.target_duration.ToNanoseconds()
        for job in monitored.jobs
    ]
    assert monitored.prometheus.number(query) == pytest.approx(sum(within) / len(within))


@pytest.mark.parametrize("metric", ["visema_job_duration_seconds_bucket", "visema_stage_duration_seconds_bucket"])
def test_values_lead_to_the_traces_of_jobs(monitored: Monitored, metric: str):
    end_s = time.time()
    found = monitored.prometheus.get("query_exemplars", query=metric, start=f"{end_s - 3600}", end=f"{end_s}")
    traces = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
    assert traces
    assert traces <= {job.job_id for job in monitored.jobs}


def test_critical_path_seconds_add_up_to_the_jobs(monitored: Monitored):
    reported_s = sum((job.end_time.ToNanoseconds() - job.start_time.ToNanoseconds()) / 1e9 for job in monitored.jobs)
    assert reported_s > 0
    for metric in ("visema_job_critical_path_seconds_total", 'visema_job_duration_seconds_sum{outcome="succeeded"}'):
        wait_for(monitored.prometheus, f"abs(sum({metric}) - {reported_s}) < {0.01 * reported_s}")
