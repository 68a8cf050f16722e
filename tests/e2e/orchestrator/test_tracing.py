"""A job is one trace through all services, and metrics link to it."""

from __future__ import annotations

import urllib.request

from harness import Client, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from stage_fakes import FakeStages
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.server import serve
from visema_orchestrator.app import Orchestrator
from visema_orchestrator.settings import OrchestratorSettings


def linked_traces(metrics_address: str, metric: str) -> set[str]:
    """Trace ids of a histogram's exemplars, scraped as Prometheus does."""
    request = urllib.request.Request(
        f"http://{metrics_address}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
        families = {family.name: family for family in text_string_to_metric_families(reply.read().decode())}
    samples = families[metric].samples if metric in families else []
    return {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


async def test_a_job_and_its_stages_share_the_trace_that_the_jobs_metrics_link_to(
    stages: FakeStages, variables: dict[str, str]
) -> None:
    variables |= {"VISEMA_METRICS_LISTEN": "127.0.0.1:0"}
    settings = OrchestratorSettings(**{name.removeprefix("VISEMA_").lower(): each for name, each in variables.items()})
    async with serve(Orchestrator(settings).spec()) as running:
        client = Client(running.address)
        ended = await client.wait((await client.create(await client.spec())).job_id)
        await client.close()
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        for metric in ("visema_job_duration_seconds", "visema_job_target_ratio"):  # measured right after the last event
            await until(lambda metric=metric: linked_traces(running.metrics_address, metric))
            assert linked_traces(running.metrics_address, metric) == {ended.job_id}
    for orders in (stages.portrait, stages.lips, stages.encoder):
        assert {trace.trace_id for trace in orders.traces if trace} == {ended.job_id}
