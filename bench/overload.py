"""Ten times more requests than there are places: how quick is a refusal, and what do admitted jobs notice?

Usage: python bench/overload.py [JOBS_AT_ONCE]     (60 without an argument)

A local stack with embedded engines runs two jobs at once and lets four more wait. First one job after the other is
made, then all at once, then as many again while the queue is full; each is sent once, without the client's retries.
A refusal's seconds are the client's, which has the same cores; the last line has those that the orchestrator counts.
The target of a job counts from its start, as `visema_job_target_ratio` does: max(3.5 s, 0.7 × video seconds).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

import urllib3
import visema_client
from prometheus_client.parser import text_string_to_metric_families
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVisema, RetryPolicy
from visema_client.localstack import LocalStack, StackOptions
from visema_kit.errors import QueueFull

SAMPLES = Path(visema_client.__file__).parent / "samples"
WAITING_PLACES = 4
ALONE = 5
TARGET_S = 0.1
JOB_METHOD = "/visema.orchestrator.v1.JobService/CreateJob"


async def create(client: AsyncVisema, spec: jobs_pb2.JobSpec) -> tuple[float, jobs_pb2.Job | QueueFull]:
    """One request. Returns: seconds to the answer, and the answer."""
    started_s = time.perf_counter()
    answer: jobs_pb2.Job | QueueFull
    try:
        answer = await client.create_job(spec)
    except QueueFull as error:
        answer = error
    return time.perf_counter() - started_s, answer


def refusals_served(metrics_url: str, within_s: float) -> tuple[int, int, float]:
    """As the orchestrator's own metrics tell: refusals within some time, all refusals, and their mean in seconds."""
    wanted = {"method": JOB_METHOD, "code": "RESOURCE_EXHAUSTED"}
    families = text_string_to_metric_families(urllib3.request("GET", metrics_url).data.decode())
    samples = [sample for family in families for sample in family.samples if wanted.items() <= sample.labels.items()]
    value = {(sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value for sample in samples}
    total = int(value["count", None])
    return int(value["bucket", str(within_s)]), total, value["sum", None] / total


def ratio(job: jobs_pb2.Job) -> float:
    """Duration of a job over its target."""
    seconds = (job.end_time.ToMicroseconds() - job.start_time.ToMicroseconds()) / 1e6
    return seconds / max(3.5, 0.7 * job.result.video_duration.ToMicroseconds() / 1e6)


async def measure(address: str, at_once: int) -> None:
    """Print the figures."""
    async with AsyncVisema(address, retry=RetryPolicy(attempts=1)) as client:
        spec = await client.job_spec(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav")
        alone = []
        for _ in range(ALONE):
            job = await client.create_job(spec)
            alone.append(ratio((await client.wait_job(job.job_id)).job))
        bursts = [await asyncio.gather(*(create(client, spec) for _ in range(at_once))) for _ in range(2)]
        admitted = [[answer for _, answer in burst if isinstance(answer, jobs_pb2.Job)] for burst in bursts]
        ended = [ratio((await client.wait_job(job.job_id)).job) for jobs in admitted for job in jobs]
    print("| requests | admitted | refused | refusal s, median | refusal s, worst | told to wait s | target ratio |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    print(f"| {ALONE}, one by one | {ALONE} | 0 | | | | {max(alone):.2f} |")
    for what, burst, jobs in zip(("at once", "more while the queue is full"), bursts, admitted, strict=True):
        refused_s = [seconds for seconds, answer in burst if isinstance(answer, QueueFull)]
        delays_s = [answer.retry_after_s for _, answer in burst if isinstance(answer, QueueFull)]
        print(
            f"| {at_once} {what} | {len(jobs)} | {len(refused_s)} | {statistics.median(refused_s):.3f} "
            f"| {max(refused_s):.3f} | {min(delays_s):.0f} to {max(delays_s):.0f} | {max(ended):.2f} |"
        )


def main() -> None:
    at_once = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    variables = {"VISEMA_ENGINE": "embedded", "VISEMA_QUEUE_LIMIT": str(WAITING_PLACES)}
    with LocalStack(StackOptions(variables=variables)) as stack:
        asyncio.run(measure(stack.address, at_once))
        quick, total, mean_s = refusals_served(stack.services["orchestrator"].metrics_url, TARGET_S)
    print(f"\nThe orchestrator answered {quick} of {total} refusals within {TARGET_S} s, on average in {mean_s:.3f} s.")


if __name__ == "__main__":
    main()
