"""What `make test-network` checks in each layout: whole jobs, cancelled and late ones, and a pulled cable."""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from support.place import Place
from support.real_stack import ORCHESTRATOR, STAGES, RealStack, running_stack_of
from support.two_networks import TwoNetworks
from visema.orchestrator.v1 import jobs_pb2
from visema_client import AsyncVideo, AsyncVisema, Progress, VideoSettings, WaitTooLong
from visema_client.cli.demo import SAMPLES
from visema_kit.channel import KEEPALIVE_TIMEOUT_MS
from visema_kit.status import from_status

FRAME_RATE = 25
PATIENCE_S = 900.0  # a limit for hangs
MIDDLE_PERCENT = 30
TOO_SHORT_S = 1.0
IMPATIENT_S = 3.0
QUIET_S = 20.0  # an upload that is on its way arrives in less, or is seen by a sweep
SWEEP_INTERVAL_S = 5.0


def say(text: str) -> None:
    """A line for the person who waits."""
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()


@dataclass
class Site:
    """A stack that is spread over two networks.

    Attributes:
        places: Where its parts are.
        size_px: Size of the videos.
        speech_s: Length of the videos; whole repetitions of the sample.
        folder: For further processes.
    """

    networks: TwoNetworks
    stack: RealStack
    places: Mapping[str, Place]
    size_px: int
    speech_s: int
    folder: Path
    motions: Iterator[int] = field(default_factory=itertools.count)

    @cached_property
    def speech(self) -> bytes:
        """A WAV file."""
        with wave.open(str(SAMPLES / "speech.wav"), "rb") as sample:
            form, sound = sample.getparams(), sample.readframes(sample.getnframes())
        with wave.open(whole := io.BytesIO(), "wb") as target:
            target.setparams(form)
            target.writeframes(sound * (self.speech_s * form.framerate // form.nframes))
        return whole.getvalue()

    def new_motion(self) -> VideoSettings:
        """Settings of which nothing is stored yet."""
        return VideoSettings(size_px=self.size_px, seed=next(self.motions))


async def check_whole_job(site: Site) -> None:
    """A video comes out of the SDK, progress is told on the way, and nothing else stays."""
    told: list[tuple[float, Progress]] = []
    started = time.monotonic()
    async with AsyncVisema(site.stack.address) as client, asyncio.timeout(PATIENCE_S):
        video = await client.generate(
            SAMPLES / "portrait.jpg",
            site.speech,
            settings=site.new_motion(),
            on_progress=lambda progress: told.append((time.monotonic(), progress)),
        )
        made_s = time.monotonic() - started
        await check_video(site, video)
    percents = [progress.percent for _, progress in told]
    gaps_s = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(told)]
    assert percents == sorted(percents)
    assert len({percent for percent in percents if 0 < percent < 100}) >= 5, f"progress was told as {percents}"
    say(
        f"a whole job: {made_s:.1f} s; {len(told)} words of progress, at most {max(gaps_s):.1f} s apart;"
        f" {retries(video.job)}"
    )


async def check_cancelling(site: Site) -> None:
    """Work stops, and the objects go."""
    async with AsyncVisema(site.stack.address) as client, asyncio.timeout(PATIENCE_S):
        job = await begun_job(site, client)
        started = time.monotonic()
        await client.cancel_job(job.job_id)
        accepted_s = time.monotonic() - started
        await until(lambda: not any(running_calls(site, stage) for stage in STAGES))
        idle_s = time.monotonic() - started
        gone_s = await nothing_left(site, job.job_id) - started
        assert (await client.get_job(job.job_id)).state == jobs_pb2.JOB_STATE_CANCELLED, "the job was too fast"
    say(
        f"cancelled in the middle: accepted after {accepted_s:.1f} s, stages seen idle after {idle_s:.1f} s,"
        f" last object seen after {gone_s:.1f} s"
    )


async def check_deadlines(site: Site) -> None:
    """A job that takes longer than it may, by the server's word and by the client's, leaves nothing."""
    async with (
        hasty_orchestrator(site) as address,
        AsyncVisema(address) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        job = await client.create_job(await spec_of(site, client))
        started = time.monotonic()
        async for event in client.watch_job(job.job_id):
            job = event.job
        ended = time.monotonic()
        assert job.state == jobs_pb2.JOB_STATE_FAILED, job
        assert from_status(job.error).reason == "DEADLINE_EXCEEDED"
        await until(lambda: not any(running_calls(site, stage) for stage in STAGES))
        gone_s = await nothing_left(site, job.job_id) - ended
        say(
            f"a job that may take {TOO_SHORT_S:g} s: DEADLINE_EXCEEDED after {ended - started:.1f} s,"
            f" last object seen {gone_s:.1f} s later"
        )
    async with AsyncVisema(site.stack.address) as client, asyncio.timeout(PATIENCE_S):
        portrait = await client.upload_portrait(SAMPLES / "portrait.jpg")
        speech = await client.upload_audio(site.speech)
        started = time.monotonic()
        job_ids: list[str] = []
        try:
            await client.generate(
                portrait,
                speech,
                settings=site.new_motion(),
                on_progress=lambda progress: job_ids.append(progress.job_id),
                timeout_s=IMPATIENT_S,
            )
        except WaitTooLong:
            given_up_s = time.monotonic() - started
        else:
            raise AssertionError("a client that waits too short got its video")
        for job_id in {*job_ids}:
            async for event in client.watch_job(job_id):
                job = event.job
            assert job.state == jobs_pb2.JOB_STATE_CANCELLED
            await nothing_left(site, job_id)
        say(f"a client that waits {IMPATIENT_S:g} s: gave up after {given_up_s:.1f} s, its job was cancelled")


async def check_outage(site: Site, outage_s: float) -> None:
    """The link carries nothing for a while in the middle of a job, and nobody is told."""
    async with AsyncVisema(site.stack.address) as client, asyncio.timeout(PATIENCE_S):
        job = await begun_job(site, client)
        started = time.monotonic()
        site.networks.pull_cable()
        try:
            await asyncio.sleep(outage_s)
        finally:
            site.networks.plug_in()
        video = await client.wait_job(job.job_id)
        took_s = time.monotonic() - started
        await check_video(site, video)
    if 2 * outage_s < KEEPALIVE_TIMEOUT_MS / 1000:  # TCP's pauses double: it repeats once more within that time
        assert not any(stage.retry_count for stage in video.job.report.stages), retries(video.job)
    say(
        f"cable pulled for {outage_s:g} s in the middle: the job ended whole {took_s - outage_s:.1f} s after the link"
        f" was back; {retries(video.job)}"
    )


async def check_video(site: Site, video: AsyncVideo) -> None:
    """All frames, one video, nothing temporary."""
    result = video.job.result
    assert video.job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert result.frame_count == FRAME_RATE * site.speech_s
    with av.open(io.BytesIO(await video.read())) as container:
        assert sum(1 for _ in container.decode(video=0)) == result.frame_count
    stored = await asyncio.to_thread(site.stack.keys, f"results/default/{video.job.job_id}/")
    assert [key for key in stored if key.endswith(".mp4")] == [result.video.key]
    await until(lambda: not site.stack.keys(f"jobs/default/{video.job.job_id}/"))


async def nothing_left(site: Site, job_id: str) -> float:
    """Wait until no object of a job without a result is there, and none has come for a while.

    Returns: `time.monotonic()` when the last one was seen.
    """
    last_s = time.monotonic()
    while time.monotonic() - last_s < QUIET_S:
        if await asyncio.to_thread(site.stack.keys, f"jobs/default/{job_id}/"):
            last_s = time.monotonic()
        await asyncio.sleep(0.1)
    results = await asyncio.to_thread(site.stack.keys, f"results/default/{job_id}/")
    assert not [key for key in results if key.endswith(".mp4")]
    return last_s


async def spec_of(site: Site, client: AsyncVisema) -> jobs_pb2.JobSpec:
    """A job for which nothing is stored yet."""
    return await client.job_spec(SAMPLES / "portrait.jpg", site.speech, settings=site.new_motion())


async def begun_job(site: Site, client: AsyncVisema) -> jobs_pb2.Job:
    """A job that is in its middle, as its client sees it."""
    job = await client.create_job(await spec_of(site, client))
    async for event in client.watch_job(job.job_id):
        if event.job.percent >= MIDDLE_PERCENT:
            break
    return job


@asynccontextmanager
async def hasty_orchestrator(site: Site) -> AsyncIterator[str]:
    """The address of another orchestrator beside the first, whose jobs have little time."""
    folder = site.folder / "hasty"
    folder.mkdir()
    limits = {"VISEMA_JOB_TIMEOUT_S": str(TOO_SHORT_S), "VISEMA_SWEEP_INTERVAL_S": str(SWEEP_INTERVAL_S)}
    hasty = RealStack(folder, site.stack.store, limits, services=[ORCHESTRATOR], places=site.places)
    hasty.told_addresses |= {stage: site.stack.addresses[stage] for stage in STAGES}
    running = running_stack_of(hasty)
    await asyncio.to_thread(running.__enter__)
    try:
        yield hasty.address
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


def running_calls(site: Site, stage: str) -> float:
    """Calls that a stage serves at this moment, by its metrics."""
    text = urllib3.request("GET", site.stack.metrics_url(stage)).data.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == "visema_inflight")


def retries(job: jobs_pb2.Job) -> str:
    """How often the stages' streams were opened again."""
    counts = [f"{stage.stage} {stage.retry_count}" for stage in job.report.stages if stage.retry_count]
    return f"streams opened again: {', '.join(counts) or 'none'}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true, which is looked at in a thread."""
    while not await asyncio.to_thread(condition):
        await asyncio.sleep(0.05)
