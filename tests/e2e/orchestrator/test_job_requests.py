"""CreateJob, GetJob, ListJobs, DeleteJob: what is accepted, what is refused, and with which reason."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from harness import Client, no_temporary_objects, reason_of, speech_wav, until
from stage_fakes import FakeStages
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import jobs_pb2, media_pb2
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.status import from_rpc_error


async def refused(client: Client, spec: jobs_pb2.JobSpec, request_id: str = "") -> tuple[str, str, grpc.StatusCode]:
    """(reason, field, code) of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.create(spec, request_id)
    error = from_rpc_error(caught.value)
    return error.reason, error.field, caught.value.code()


async def test_the_same_request_gives_the_same_job_even_twenty_times_at_once(client: Client) -> None:
    spec = await client.spec()
    made = await asyncio.gather(*(client.create(spec, "once") for _ in range(20)))
    assert len({job.job_id for job in made}) == 1
    assert len((await client.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs) == 1
    await client.wait(made[0].job_id)
    assert (await client.create(spec, "once")).state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_two_bodies_with_one_request_id_at_the_same_instant_make_one_job(client: Client) -> None:
    first = await client.spec()
    second = jobs_pb2.JobSpec()
    second.CopyFrom(first)
    second.title = "another"
    results = await asyncio.gather(
        *(client.create(spec, "race") for spec in (first, second) * 5), return_exceptions=True
    )
    made = {job.job_id for job in results if isinstance(job, jobs_pb2.Job)}
    refusals = {reason_of(error) for error in results if isinstance(error, grpc.aio.AioRpcError)}
    assert len(made) == 1
    assert refusals == {"REQUEST_ID_REUSED"}


async def test_a_request_id_with_another_body_is_refused(client: Client) -> None:
    spec = await client.spec()
    await client.create(spec, "mine")
    spec.title = "changed"
    assert await refused(client, spec, "mine") == (
        "REQUEST_ID_REUSED",
        "request_id",
        grpc.StatusCode.ALREADY_EXISTS,
    )


async def test_without_a_request_id_every_call_makes_a_job(client: Client) -> None:
    spec = await client.spec()
    assert (await client.create(spec)).job_id != (await client.create(spec)).job_id


async def test_a_picture_without_a_face_fails_at_once(client: Client) -> None:
    spec = jobs_pb2.JobSpec(portrait=await client.portrait(b"nobody at all"), audio=await client.audio())
    reason, _, code = await refused(client, spec)
    assert (reason, code) == ("NO_FACE_FOUND", grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (speech_wav(0.1), "AUDIO_TOO_SHORT"),
        (speech_wav(61), "AUDIO_TOO_LONG"),
        (b"this is no sound at all" * 10, "MEDIA_UNREADABLE"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nhttp://127.0.0.1:1/a.ts\n", "MEDIA_NOT_ALLOWED"),
        (speech_wav(2)[:20], "MEDIA_UNREADABLE"),
    ],
)
async def test_audio_that_cannot_be_used_fails_at_once(client: Client, content: bytes, reason: str) -> None:
    audio = await client.upload(content, media_pb2.MEDIA_KIND_AUDIO)
    spec = jobs_pb2.JobSpec(portrait=await client.portrait(), audio=audio)
    assert (await refused(client, spec))[:2] == (reason, "spec.audio")


async def test_references_that_are_not_the_callers_or_not_right_are_refused(client: Client) -> None:
    spec = await client.spec()

    def with_audio(**changes: object) -> jobs_pb2.JobSpec:
        changed = jobs_pb2.JobSpec()
        changed.CopyFrom(spec)
        for name, value in changes.items():
            setattr(changed.audio, name, value)
        return changed

    missing = spec.audio.key[:-4] + "0000"
    foreign = spec.audio.key.replace("default", "somebody")
    assert (await refused(client, with_audio(key=missing)))[0] == "OBJECT_NOT_FOUND"
    assert (await refused(client, with_audio(key=foreign)))[0] == "FOREIGN_OBJECT"
    assert (await refused(client, with_audio(key="../../etc/passwd")))[0] == "FOREIGN_OBJECT"
    assert (await refused(client, with_audio(bucket="other")))[0] == "FOREIGN_OBJECT"
    assert (await refused(client, with_audio(sha256="0" * 64)))[0] == "OBJECT_MISMATCH"
    assert (await refused(client, with_audio(size_bytes=7)))[0] == "OBJECT_MISMATCH"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("spec.size_px", lambda spec: setattr(spec, "size_px", 255)),
        ("spec.size_px", lambda spec: setattr(spec, "size_px", 1026)),
        ("spec.size_px", lambda spec: setattr(spec, "size_px", 0)),
        ("spec.frame_rate", lambda spec: spec.frame_rate.MergeFrom(common_pb2.FrameRate(numerator=29, denominator=1))),
        ("spec.encoding.crf", lambda spec: setattr(spec.encoding, "crf", 52)),
        ("spec.encoding.bitrate_bps", lambda spec: setattr(spec.encoding, "bitrate_bps", 1)),
        ("spec.encoding.preset", lambda spec: setattr(spec.encoding, "preset", "placebo; rm -rf")),
        ("spec.encoding.still_frames", lambda spec: spec.encoding.still_frames.append(50)),
        ("spec.motion.blinks_per_minute", lambda spec: setattr(spec.motion, "blinks_per_minute", 41)),
        ("spec.motion.head_motion", lambda spec: setattr(spec.motion, "head_motion", float("nan"))),
        ("spec.motion.speech_motion", lambda spec: setattr(spec.motion, "speech_motion", 2.1)),
        ("spec.lip_sync.mouth_strength", lambda spec: setattr(spec.lip_sync, "mouth_strength", -1)),
        ("spec.title", lambda spec: setattr(spec, "title", "x" * 201)),
        ("spec.framing", lambda spec: setattr(spec, "framing", 17)),
    ],
)
async def test_settings_out_of_range_name_their_field(client: Client, field: str, change: object) -> None:
    spec = await client.spec(seconds=2)  # 50 frames: 0 to 49
    change(spec)
    assert await refused(client, spec) == ("INVALID_INPUT", field, grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_job_needs_somebody_and_something_to_say(client: Client) -> None:
    whole = await client.spec()
    assert (await refused(client, jobs_pb2.JobSpec(audio=whole.audio)))[:2] == ("INVALID_INPUT", "spec.portrait")
    assert (await refused(client, jobs_pb2.JobSpec(portrait=whole.portrait)))[:2] == ("INVALID_INPUT", "spec.audio")
    assert (await refused(client, jobs_pb2.JobSpec(avatar_id="unknown", audio=whole.audio)))[0] == "AVATAR_NOT_FOUND"
    text = jobs_pb2.JobSpec(portrait=whole.portrait, text=jobs_pb2.SpeechText(text="Hello"))
    assert (await refused(client, text))[0] == "PRECONDITION_FAILED"


async def test_a_refused_request_leaves_nothing_behind(client: Client) -> None:
    spec = jobs_pb2.JobSpec(portrait=await client.portrait(b"nobody"), audio=await client.audio())
    await refused(client, spec, "again")
    assert not (await client.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs
    spec.portrait.CopyFrom(await client.portrait())
    await client.create(spec, "again")  # the name is still free


async def test_lists_go_from_new_to_old_in_pages_and_by_state(client: Client) -> None:
    spec = await client.spec(seconds=0.5)
    made = []
    for _ in range(5):
        made.append((await client.create(spec)).job_id)
        await client.wait(made[-1])
    seen, token = [], ""
    while True:
        page = await client.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=2, page_token=token))
        seen += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    running = jobs_pb2.ListJobsRequest(states=[jobs_pb2.JOB_STATE_RUNNING])
    assert not (await client.jobs.ListJobs(running)).jobs
    first = await client.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=2))
    other = jobs_pb2.ListJobsRequest(page_token=first.next_page_token, avatar_id="another list")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.jobs.ListJobs(other)
    assert from_rpc_error(caught.value).field == "page_token"


async def test_only_an_ended_job_can_be_deleted_and_its_result_goes_too(
    client: Client, stages: FakeStages, object_store: ObjectStore
) -> None:
    stages.lips.hang_after = 0
    job = await client.create(await client.spec())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.jobs.DeleteJob(jobs_pb2.DeleteJobRequest(job_id=job.job_id))
    assert reason_of(caught.value) == "JOB_NOT_ENDED"
    stages.lips.let_go.set()
    ended = await client.wait(job.job_id)
    await client.jobs.DeleteJob(jobs_pb2.DeleteJobRequest(job_id=job.job_id))
    assert await object_store.stat(ended.result.video.key) is None
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.get(job.job_id)
    assert reason_of(caught.value) == "JOB_NOT_FOUND"


async def test_the_report_tells_when_each_stage_did_what(client: Client, stages: FakeStages) -> None:
    stages.portrait.hang_after = 4  # before the last one
    stages.encoder.hang_after = 2  # its credit is two: the orchestrator knows that the first one is done
    job = await client.create(await client.spec(seconds=5))
    await until(lambda: stages.portrait.hanging and stages.encoder.hanging)
    stages.portrait.let_go.set()
    stages.encoder.let_go.set()
    ended = await client.wait(job.job_id)
    by_name = {stage.stage: stage for stage in ended.report.stages}
    assert list(by_name) == ["liveportrait", "wav2lip", "encoder"]

    def first(name: str) -> int:
        return by_name[name].first_segment_offset.ToNanoseconds()

    def last(name: str) -> int:
        return by_name[name].last_segment_offset.ToNanoseconds()

    assert first("wav2lip") < last("liveportrait"), "lip-sync waited for the whole animation"
    assert first("encoder") < last("wav2lip"), "the encoder waited for the whole lip-sync"
    assert ended.report.target_duration.ToMilliseconds() == 3500
    assert ended.report.degraded
    assert "wav2lip: wav2lip is a small one" in ended.report.degraded_reasons
    assert not ended.report.prepared
    assert ended.report.processing_duration.ToNanoseconds() > 0


async def test_nothing_temporary_is_left_after_a_job(client: Client, store_config: StoreConfig) -> None:
    job = await client.create(await client.spec())
    await client.wait(job.job_id)
    await no_temporary_objects(store_config, job.job_id)


async def test_media_that_were_checked_once_are_not_checked_again(client: Client, stages: FakeStages) -> None:
    spec = await client.spec()
    await client.create(spec)
    looked = len([request for request in stages.portrait.opened if "Inspect" in type(request).__name__])
    await client.create(spec)
    again = len([request for request in stages.portrait.opened if "Inspect" in type(request).__name__])
    assert again == looked == 1
