"""An orchestrator in memory with the real API: accepts media, runs jobs at once, and breaks where a test says so."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import (
    avatars_pb2,
    avatars_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    media_pb2,
    media_pb2_grpc,
)
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema.speech.v1 import speech_pb2, speech_pb2_grpc
from visema_kit.errors import (
    AvatarNotFound,
    InvalidInput,
    JobNotFound,
    MediaNotAllowed,
    ObjectNotFound,
    Unavailable,
    VisemaError,
)
from visema_kit.interceptors import CallInterceptor
from visema_kit.metrics import Metrics
from visema_kit.status import to_status

CHUNK_BYTES = 64 * 1024
FRAMES = 50
STAGES = ("liveportrait", "wav2lip", "encoder")
QUALITY = common_pb2.QualityReport(
    score=87,
    lag_ms=20,
    correlation=0.78,
    mouth_range_percent=6.5,
    closed_in_silence_ratio=0.6,
    preservation_db=99,
    flicker_levels=0.2,
    frame_count=FRAMES,
    warnings=["The mouth does not close in pauses."],
)


@dataclass
class Script:
    """What goes wrong, and what was seen.

    Attributes:
        faults: Method name to errors that its next calls end with, one each, before anything is done.
        done_then_lost: Method names whose next call is done, but whose reply is lost.
        cut_uploads: Number of uploads that break after their first chunk.
        uploads_together: Uploads go on once so many have begun.
        cut_downloads: Bytes after which the next downloads break, one each.
        cut_watches: Events after which the next watches break, one each.
        corrupt: Downloads have a wrong byte.
        failure: What every job ends with.
        endless: Jobs run until they are cancelled.
        calls: Calls that were seen, by method.
        seen: Requests that were seen, in order.
        tokens: Values of `authorization` that were seen.
        traces: Values of `traceparent` that were seen; empty for none.
    """

    faults: dict[str, list[VisemaError]] = field(default_factory=dict)
    done_then_lost: list[str] = field(default_factory=list)
    cut_uploads: int = 0
    uploads_together: int = 0
    cut_downloads: list[int] = field(default_factory=list)
    cut_watches: list[int] = field(default_factory=list)
    corrupt: bool = False
    failure: VisemaError | None = None
    endless: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    seen: list[object] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    traces: set[str] = field(default_factory=set)

    def begin(self, method: str, request: object, context: grpc.aio.ServicerContext) -> None:
        self.calls[method] += 1
        self.seen.append(request)
        metadata = dict(context.invocation_metadata() or ())
        self.tokens |= {str(metadata[name]) for name in ("authorization",) if name in metadata}
        self.traces.add(str(metadata.get("traceparent", "")))
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def end(self, method: str) -> None:
        if method in self.done_then_lost:
            self.done_then_lost.remove(method)
            raise Unavailable("the reply was lost")


class FakeOrchestrator(
    jobs_pb2_grpc.JobServiceServicer,
    avatars_pb2_grpc.AvatarServiceServicer,
    media_pb2_grpc.MediaServiceServicer,
    portrait_pb2_grpc.PortraitAnimationServiceServicer,
    speech_pb2_grpc.SpeechServiceServicer,
):
    """Jobs make a "video" of a few hundred kilobytes at once."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.objects: dict[str, bytes] = {}
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self.avatars: dict[str, avatars_pb2.Avatar] = {}
        self.voices: list[speech_pb2.Voice] = []
        self.cancelled = asyncio.Event()
        self.health = health.aio.HealthServicer()

    def store(self, content: bytes, media_type: str) -> common_pb2.ObjectRef:
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"media/default/{sha256}"
        self.objects[key] = content
        return common_pb2.ObjectRef(
            bucket="visema", key=key, sha256=sha256, size_bytes=len(content), media_type=media_type
        )

    async def CreateUpload(self, request, context):  # noqa: N802
        raise NotImplementedError

    async def CompleteUpload(self, request, context):  # noqa: N802
        raise NotImplementedError

    async def Upload(self, request_iterator, context):  # noqa: N802
        requests = aiter(request_iterator)
        header = (await anext(requests)).header
        self.script.begin("Upload", header, context)
        while self.script.calls["Upload"] < self.script.uploads_together:
            await asyncio.sleep(0.01)
        content = bytearray()
        async for request in requests:
            assert len(request.chunk) <= 1024 * 1024
            content += request.chunk
            if self.script.cut_uploads:
                self.script.cut_uploads -= 1
                raise Unavailable("the connection broke")
        if content.startswith(b"#EXTM3U"):
            raise MediaNotAllowed("a playlist is no media", field="header")
        assert header.size_bytes == len(content)
        assert header.sha256 == hashlib.sha256(content).hexdigest()
        return media_pb2.UploadResponse(object=self.store(bytes(content), "application/octet-stream"))

    async def Download(self, request, context):  # noqa: N802
        self.script.begin("Download", request, context)
        if request.object.key not in self.objects:
            raise ObjectNotFound("no such object")
        content = self.objects[request.object.key]
        if self.script.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        end = request.offset_bytes + request.length_bytes if request.length_bytes else len(content)
        limit = request.offset_bytes + self.script.cut_downloads.pop(0) if self.script.cut_downloads else len(content)
        yield media_pb2.DownloadResponse(object=request.object)
        for start in range(request.offset_bytes, min(end, limit), CHUNK_BYTES):
            yield media_pb2.DownloadResponse(chunk=content[start : min(start + CHUNK_BYTES, end, limit)])
        if limit < end:
            raise Unavailable("the connection broke")

    async def CreateJob(self, request, context):  # noqa: N802
        self.script.begin("CreateJob", request, context)
        known = next((job for job in self.jobs.values() if job.request_id == request.request_id), None)
        if known is None:
            known = jobs_pb2.Job(job_id=f"job-{len(self.jobs):03}", request_id=request.request_id, spec=request.spec)
            known.state = jobs_pb2.JOB_STATE_RUNNING
            known.create_time.GetCurrentTime()
            self.jobs[known.job_id] = known
        self.script.end("CreateJob")
        return jobs_pb2.CreateJobResponse(job=known)

    async def GetJob(self, request, context):  # noqa: N802
        self.script.begin("GetJob", request, context)
        return jobs_pb2.GetJobResponse(job=self._job(request.job_id))

    async def ListJobs(self, request, context):  # noqa: N802
        self.script.begin("ListJobs", request, context)
        jobs = [job for job in reversed(self.jobs.values()) if not request.states or job.state in request.states]
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdecimal()):
            raise InvalidInput("the page token is damaged", field="page_token")
        first = int(request.page_token or 0)
        last = first + request.page_size
        return jobs_pb2.ListJobsResponse(jobs=jobs[first:last], next_page_token=str(last) if last < len(jobs) else "")

    async def WatchJob(self, request, context):  # noqa: N802
        self.script.begin("WatchJob", request, context)
        self._job(request.job_id)
        limit = self.script.cut_watches.pop(0) if self.script.cut_watches else None
        sent = 0
        async for event in self._events(request.job_id):
            if event.sequence <= request.after_sequence:
                continue
            if sent == limit:
                raise Unavailable("the connection broke")
            yield event
            sent += 1

    async def CancelJob(self, request, context):  # noqa: N802
        self.script.begin("CancelJob", request, context)
        job = self._job(request.job_id)
        job.state = jobs_pb2.JOB_STATE_CANCELLED
        self.cancelled.set()
        return jobs_pb2.CancelJobResponse(job=job)

    async def DeleteJob(self, request, context):  # noqa: N802
        self.script.begin("DeleteJob", request, context)
        self._job(request.job_id)
        del self.jobs[request.job_id]
        self.script.end("DeleteJob")
        return jobs_pb2.DeleteJobResponse()

    async def Inspect(self, request, context):  # noqa: N802
        """Two faces, of which the right one is meant and turned."""
        self.script.begin("Inspect", request, context)
        shown = portrait_pb2.InspectResponse(width_px=800, height_px=600, selected_index=1)
        for left_px in (50, 450):
            box = portrait_pb2.FaceBox(left_px=left_px, top_px=100, width_px=200, height_px=250)
            shown.faces.add(box=box)
        shown.flaws.append(portrait_pb2.FACE_FLAW_TURNED)
        shown.warnings.append("The face is turned.")
        return shown

    async def CreateAvatar(self, request, context):  # noqa: N802
        self.script.begin("CreateAvatar", request, context)
        avatar = avatars_pb2.Avatar(
            avatar_id=f"avatar-{len(self.avatars)}",
            request_id=request.request_id,
            state=avatars_pb2.AVATAR_STATE_PREPARING,
            spec=request.spec,
        )
        self.avatars[avatar.avatar_id] = avatar
        return avatars_pb2.CreateAvatarResponse(avatar=avatar)

    async def GetAvatar(self, request, context):  # noqa: N802
        self.script.begin("GetAvatar", request, context)
        avatar = self._avatar(request.avatar_id)
        if self.script.calls["GetAvatar"] > 1:
            avatar.state = avatars_pb2.AVATAR_STATE_READY
        return avatars_pb2.GetAvatarResponse(avatar=avatar)

    async def ListAvatars(self, request, context):  # noqa: N802
        self.script.begin("ListAvatars", request, context)
        return avatars_pb2.ListAvatarsResponse(avatars=self.avatars.values())

    async def DeleteAvatar(self, request, context):  # noqa: N802
        self.script.begin("DeleteAvatar", request, context)
        self._avatar(request.avatar_id)
        del self.avatars[request.avatar_id]
        return avatars_pb2.DeleteAvatarResponse()

    async def ListVoices(self, request, context):  # noqa: N802
        self.script.begin("ListVoices", request, context)
        voices = [voice for voice in self.voices if not request.language or request.language in voice.languages]
        first = int(request.page_token or 0)
        more = str(first + 1) if first + 1 < len(voices) else ""
        return speech_pb2.ListVoicesResponse(voices=voices[first : first + 1], next_page_token=more)

    def _job(self, job_id: str) -> jobs_pb2.Job:
        if job_id not in self.jobs:
            raise JobNotFound(f"no job {job_id}")
        return self.jobs[job_id]

    def _avatar(self, avatar_id: str) -> avatars_pb2.Avatar:
        if avatar_id not in self.avatars:
            raise AvatarNotFound(f"no avatar {avatar_id}")
        return self.avatars[avatar_id]

    async def _events(self, job_id: str) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        job = self._job(job_id)
        sequence = 0
        for done in range(0, FRAMES + 1, 10):
            sequence += 1
            step = jobs_pb2.Job()
            step.CopyFrom(job)
            step.state, step.percent = jobs_pb2.JOB_STATE_RUNNING, done * 100 // FRAMES
            for name in STAGES:
                step.stages.add(stage=name).progress.CopyFrom(
                    common_pb2.StageProgress(frames_done=done, frames_total=FRAMES)
                )
            yield jobs_pb2.WatchJobResponse(sequence=sequence, job=step)
        if self.script.endless:
            await self.cancelled.wait()
        elif job.state == jobs_pb2.JOB_STATE_RUNNING:
            self._finish(job)
        yield jobs_pb2.WatchJobResponse(sequence=sequence + 1, job=job)

    def _finish(self, job: jobs_pb2.Job) -> None:
        job.percent = 100
        if self.script.failure is not None:
            status: status_pb2.Status = to_status(self.script.failure)
            job.state = jobs_pb2.JOB_STATE_FAILED
            job.error.CopyFrom(status)
            return
        job.state = jobs_pb2.JOB_STATE_SUCCEEDED
        video = b"".join(hashlib.sha256(f"{job.job_id}{part}".encode()).digest() for part in range(10_000))
        job.result.video.CopyFrom(self.store(video, "video/mp4"))
        job.result.poster.CopyFrom(self.store(b"\xff\xd8poster", "image/jpeg"))
        job.result.frame_count = FRAMES
        job.result.video_duration.FromSeconds(2)
        job.report.processing_duration.FromMilliseconds(1500)
        job.report.target_duration.FromMilliseconds(3500)
        job.report.degraded = True
        job.report.degraded_reasons.append("liveportrait: no checkpoints")
        job.report.quality.CopyFrom(QUALITY)
        job.report.warnings.extend(QUALITY.warnings)
        for name in STAGES:
            stage = job.report.stages.add(stage=name)
            stage.report.engine.name = "embedded"
            stage.report.total_duration.FromMilliseconds(900)


@asynccontextmanager
async def serve_fake(script: Script, listen: str = "127.0.0.1:0") -> AsyncIterator[tuple[str, FakeOrchestrator]]:
    """A running fake with the kit's own interceptor: its address and itself."""
    interceptor = CallInterceptor(Metrics())
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    fake = FakeOrchestrator(script)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(fake, server)
    avatars_pb2_grpc.add_AvatarServiceServicer_to_server(fake, server)
    media_pb2_grpc.add_MediaServiceServicer_to_server(fake, server)
    portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(fake, server)
    speech_pb2_grpc.add_SpeechServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(fake.health, server)
    await fake.health.set(health.OVERALL_HEALTH, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(listen)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", fake
    finally:
        await server.stop(0)
