"""The asynchronous client."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2, media_pb2
from visema.portrait.v1 import portrait_pb2
from visema.speech.v1 import speech_pb2
from visema_kit.channel import TlsFiles
from visema_kit.errors import VisemaError

from visema_client import avatars, jobs, media, portraits, voices
from visema_client.connection import Connection, Timeouts
from visema_client.errors import WaitTooLong
from visema_client.media import MediaSource
from visema_client.progress import ProgressCallback
from visema_client.retry import RetryPolicy
from visema_client.settings import VideoSettings

CANCEL_S: Final = 3.0  # for the last word to a server whose caller gave up


@dataclass(frozen=True, slots=True)
class AsyncVideo:
    """A finished video.

    Attributes:
        job: The job that made it, with report and references.
    """

    job: jobs_pb2.Job
    _connection: Connection

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the MP4 file; it appears only when it is complete. Raises: OSError. VisemaError."""
        target = Path(path)
        await media.download(self._connection, self.job.result.video, target)
        return target

    async def read(self) -> bytes:
        """The MP4 file. Raises: VisemaError."""
        return await media.read(self._connection, self.job.result.video)

    async def poster(self) -> bytes:
        """A frame that stands for the video, as JPEG. Raises: VisemaError."""
        return await media.read(self._connection, self.job.result.poster)


class AsyncVisema:
    """A client of one VISEMA server. Connects when it is used first; use it as a context manager, or call `close`.

        async with AsyncVisema("localhost:50051") as client:
            video = await client.generate("portrait.jpg", "speech.wav")
            await video.save("out.mp4")

    Calls that may be repeated are repeated after faults that pass (`retry`), with jitter. Errors are the classes of
    `visema_kit.errors`, and those of `visema_client.errors`.

    Args:
        address: `host:port` of the orchestrator.
        tls: Certificates; None for plain text.
        token: Sent with every call as a bearer token.
        retry: When calls are repeated.
        timeouts: Deadlines of single calls.

    Raises: OSError: a TLS file cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: TlsFiles | None = None,
        token: str | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._connection = Connection.open(
            address, tls=tls, token=token, retry=retry or RetryPolicy(), timeouts=timeouts or Timeouts()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def as_caller(self, token: str | None, *, retry: RetryPolicy | None = None) -> Self:
        """A client that speaks for somebody else over this one's connection; it needs no closing.

        For servers that hand on what their own clients ask for. Args: retry: this one's when None.
        """
        other = copy.copy(self)
        other._connection = self._connection.as_caller(token, retry or self._connection.retry)  # noqa: SLF001  # one of us
        return other

    async def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._connection.close()

    async def generate(
        self,
        portrait: MediaSource | None = None,
        audio: MediaSource | None = None,
        *,
        avatar_id: str | None = None,
        text: str | None = None,
        voice_id: str = "",
        settings: VideoSettings | None = None,
        on_progress: ProgressCallback | None = None,
        timeout_s: float | None = None,
    ) -> AsyncVideo:
        """Make a video and wait for it. When waiting is cancelled or takes too long, the job is cancelled.

        Args:
            portrait: Picture: a path, bytes or a reference. Or give `avatar_id`.
            audio: Speech: a path, bytes or a reference. Or give `text`.
            avatar_id: A registered avatar.
            text: What to say.
            voice_id: Voice for `text`; the server's default when empty.
            settings: What the video looks like.
            on_progress: Called with each step of the job.
            timeout_s: Longest time to wait; None waits as long as it takes.

        Raises: ValueError: not exactly one appearance and one speech. OSError: a file cannot be read.
            VisemaError: why there is no video. WaitTooLong: `timeout_s` has passed.
        """
        job: jobs_pb2.Job | None = None
        try:
            async with _limit(timeout_s):
                spec = await self.job_spec(
                    portrait, audio, avatar_id=avatar_id, text=text, voice_id=voice_id, settings=settings
                )
                job = await self.create_job(spec)
                return self._video(await jobs.wait(self._connection, job.job_id, on_progress))
        except (asyncio.CancelledError, WaitTooLong):
            if job is not None:
                await self._give_up(job.job_id)
            raise

    async def job_spec(
        self,
        portrait: MediaSource | None = None,
        audio: MediaSource | None = None,
        *,
        avatar_id: str | None = None,
        text: str | None = None,
        voice_id: str = "",
        settings: VideoSettings | None = None,
    ) -> jobs_pb2.JobSpec:
        """Upload what is needed and put a job's spec together; arguments and errors as in `generate`."""
        if (portrait is None) == (avatar_id is None):
            raise ValueError("give either a portrait or an avatar_id")
        if (audio is None) == (text is None):
            raise ValueError("give either audio or text")
        spec = (settings or VideoSettings()).job_spec()
        if avatar_id is not None:
            spec.avatar_id = avatar_id
        if text is not None:
            spec.text.CopyFrom(jobs_pb2.SpeechText(text=text, voice_id=voice_id))
        picture, sound = await _both(
            self.upload_portrait(portrait) if portrait is not None else None,
            self.upload_audio(audio) if audio is not None else None,
        )
        if picture is not None:
            spec.portrait.CopyFrom(picture)
        if sound is not None:
            spec.audio.CopyFrom(sound)
        return spec

    async def upload_portrait(self, source: MediaSource) -> common_pb2.ObjectRef:
        """Send a picture. Raises: OSError: it cannot be read. VisemaError: it is refused."""
        return await media.upload(self._connection, source, media_pb2.MEDIA_KIND_PORTRAIT)

    async def upload_audio(self, source: MediaSource) -> common_pb2.ObjectRef:
        """Send speech. Raises: OSError: it cannot be read. VisemaError: it is refused."""
        return await media.upload(self._connection, source, media_pb2.MEDIA_KIND_AUDIO)

    async def create_job(self, spec: jobs_pb2.JobSpec, *, request_id: str | None = None) -> jobs_pb2.Job:
        """Start a job. A request id is made when none is given, so that a repeated call makes no second job.

        Raises: VisemaError: what can be known at once, e.g. NoFaceFound or QueueFull.
        """
        return await jobs.create(self._connection, spec, request_id)

    async def get_job(self, job_id: str) -> jobs_pb2.Job:
        """Read a job. Raises: JobNotFound, VisemaError."""
        return await jobs.get(self._connection, job_id)

    def list_jobs(
        self,
        *,
        states: Sequence[jobs_pb2.JobState.ValueType] = (),
        avatar_id: str = "",
        page_size: int = jobs.PAGE_SIZE,
    ) -> AsyncGenerator[jobs_pb2.Job, None]:
        """All jobs, newest first; pages are read as they are needed. Raises: VisemaError."""
        return jobs.iterate(self._connection, states=states, avatar_id=avatar_id, page_size=page_size)

    async def job_page(
        self,
        *,
        states: Sequence[jobs_pb2.JobState.ValueType] = (),
        avatar_id: str = "",
        page_size: int = jobs.PAGE_SIZE,
        page_token: str = "",
    ) -> tuple[Sequence[jobs_pb2.Job], str]:
        """One page of jobs, newest first, and the token of the next one, empty on the last. Raises: VisemaError."""
        return await jobs.page(
            self._connection, states=states, avatar_id=avatar_id, page_size=page_size, page_token=page_token
        )

    def watch_job(self, job_id: str, *, after_sequence: int = 0) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """A job's events up to its end, also over broken connections. Raises: JobNotFound, VisemaError."""
        return jobs.watch(self._connection, job_id, after_sequence=after_sequence)

    async def wait_job(
        self, job_id: str, *, on_progress: ProgressCallback | None = None, timeout_s: float | None = None
    ) -> AsyncVideo:
        """Wait until a job has ended. Raises: VisemaError: why there is no video. JobCancelled, WaitTooLong."""
        async with _limit(timeout_s):
            return self._video(await jobs.wait(self._connection, job_id, on_progress))

    async def cancel_job(self, job_id: str) -> jobs_pb2.Job:
        """Ask a job to stop. Raises: JobNotFound, VisemaError."""
        return await jobs.cancel(self._connection, job_id)

    async def delete_job(self, job_id: str) -> None:
        """Delete an ended job with its result. Raises: JobNotFound, JobNotEnded, VisemaError."""
        await jobs.delete(self._connection, job_id)

    async def inspect_portrait(
        self, portrait: MediaSource, *, face: portrait_pb2.FaceSelection | None = None
    ) -> portrait_pb2.InspectResponse:
        """Find the faces of a picture. Args: face: which is meant; without it several are refused.

        Raises: OSError. NoFaceFound, SeveralFaces, VisemaError.
        """
        reference = await self.upload_portrait(portrait)
        return await portraits.inspect(self._connection, reference, face or portrait_pb2.FaceSelection())

    async def create_avatar(
        self,
        portrait: MediaSource,
        *,
        name: str = "",
        description: str = "",
        settings: VideoSettings | None = None,
        request_id: str | None = None,
    ) -> avatars_pb2.Avatar:
        """Register a portrait; its animation is prepared ahead. Raises: OSError. VisemaError."""
        reference = await self.upload_portrait(portrait)
        spec = (settings or VideoSettings()).avatar_spec(reference, name=name, description=description)
        return await avatars.create(self._connection, spec, request_id)

    async def get_avatar(self, avatar_id: str) -> avatars_pb2.Avatar:
        """Read an avatar. Raises: AvatarNotFound, VisemaError."""
        return await avatars.get(self._connection, avatar_id)

    def list_avatars(self, *, page_size: int = jobs.PAGE_SIZE) -> AsyncGenerator[avatars_pb2.Avatar, None]:
        """All avatars, newest first; pages are read as they are needed. Raises: VisemaError."""
        return avatars.iterate(self._connection, page_size=page_size)

    async def avatar_page(
        self, *, page_size: int = jobs.PAGE_SIZE, page_token: str = ""
    ) -> tuple[Sequence[avatars_pb2.Avatar], str]:
        """One page of avatars, newest first, and the token of the next one, empty on the last. Raises: VisemaError."""
        return await avatars.page(self._connection, page_size=page_size, page_token=page_token)

    async def wait_avatar(self, avatar_id: str, *, timeout_s: float | None = None) -> avatars_pb2.Avatar:
        """Wait until an avatar is prepared. Raises: VisemaError: why it cannot be. WaitTooLong."""
        async with _limit(timeout_s):
            return await avatars.wait(self._connection, avatar_id)

    async def delete_avatar(self, avatar_id: str) -> None:
        """Delete an avatar; finished videos stay. Raises: AvatarNotFound, VisemaError."""
        await avatars.delete(self._connection, avatar_id)

    def list_voices(self, *, language: str = "") -> AsyncGenerator[speech_pb2.Voice, None]:
        """The voices for `text`, by id. Args: language: BCP 47 tag, e.g. `pt` or `pt-BR`. Raises: VisemaError."""
        return voices.iterate(self._connection, language=language)

    async def download(self, reference: common_pb2.ObjectRef, path: str | os.PathLike[str]) -> Path:
        """Write an object to a file, which appears only when it is complete. Raises: OSError. VisemaError."""
        target = Path(path)
        await media.download(self._connection, reference, target)
        return target

    async def read(self, reference: common_pb2.ObjectRef) -> bytes:
        """The checked content of an object. Raises: VisemaError."""
        return await media.read(self._connection, reference)

    def iterate_object(
        self, reference: common_pb2.ObjectRef, *, offset_bytes: int = 0, length_bytes: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an object or of a range of it, as they arrive, unchecked. Raises: VisemaError."""
        return media.iterate_object(self._connection, reference, offset_bytes=offset_bytes, length_bytes=length_bytes)

    def _video(self, job: jobs_pb2.Job) -> AsyncVideo:
        return AsyncVideo(job, self._connection)

    async def _give_up(self, job_id: str) -> None:
        """Tell the server that nobody waits any more; the caller's own error counts, not what happens here."""
        with contextlib.suppress(VisemaError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(CANCEL_S):
                await self.cancel_job(job_id)


@contextlib.asynccontextmanager
async def _limit(timeout_s: float | None) -> AsyncIterator[None]:
    """Raises: WaitTooLong: the block takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise WaitTooLong(f"not done after {timeout_s:g} s") from error


async def _both(*uploads: Coroutine[None, None, common_pb2.ObjectRef] | None) -> list[common_pb2.ObjectRef | None]:
    """What uploads that run at once give. When one fails the others are cancelled, and its error is raised."""
    tasks = [None if upload is None else asyncio.create_task(upload) for upload in uploads]
    running = [task for task in tasks if task is not None]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return [None if task is None else task.result() for task in tasks]
