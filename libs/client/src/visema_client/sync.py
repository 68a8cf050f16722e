"""The client for programs without an event loop: the asynchronous one, run in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema.portrait.v1 import portrait_pb2
from visema.speech.v1 import speech_pb2
from visema_kit.channel import TlsFiles

from visema_client import jobs
from visema_client.aio import CANCEL_S, AsyncVideo, AsyncVisema
from visema_client.connection import Timeouts
from visema_client.media import MediaSource
from visema_client.progress import ProgressCallback
from visema_client.retry import RetryPolicy
from visema_client.settings import VideoSettings

T = TypeVar("T")

TIDY_UP_S: Final = CANCEL_S + 1.0


class _LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="visema-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine. An interrupt in the calling thread cancels it and lets it tidy up."""
        outcome: Future[T] = Future()

        async def carry() -> None:
            try:
                outcome.set_result(await work)
            except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to the calling thread
                outcome.set_exception(error)

        carrier = asyncio.run_coroutine_threadsafe(carry(), self._loop)
        try:
            return outcome.result()
        finally:
            if not outcome.done():
                carrier.cancel()
                wait([outcome], TIDY_UP_S)

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator."""
        try:
            while True:
                try:
                    item = self.run(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(items.aclose())

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class Video:
    """A finished video.

    Attributes:
        job: The job that made it, with report and references.
    """

    job: jobs_pb2.Job
    _video: AsyncVideo
    _thread: _LoopThread

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the MP4 file; it appears only when it is complete. Raises: OSError. VisemaError."""
        return self._thread.run(self._video.save(path))

    def read(self) -> bytes:
        """The MP4 file. Raises: VisemaError."""
        return self._thread.run(self._video.read())

    def poster(self) -> bytes:
        """A frame that stands for the video, as JPEG. Raises: VisemaError."""
        return self._thread.run(self._video.poster())


class Visema:
    """A client of one VISEMA server for programs without an event loop; may be shared between threads.

        video = Visema("localhost:50051").generate("portrait.jpg", "speech.wav")
        video.save("out.mp4")

    Arguments, results and errors are those of `AsyncVisema`. Callbacks run in the client's own thread. Use it as a
    context manager, or call `close`, where a program makes many clients.
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
        self._thread = _LoopThread()

        async def connect() -> AsyncVisema:
            return AsyncVisema(address, tls=tls, token=token, retry=retry, timeouts=timeouts)

        try:
            self._client = self._thread.run(connect())  # a channel belongs to the loop that made it
        except BaseException:
            self._thread.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        self._thread.run(self._client.close())
        self._thread.close()

    def generate(
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
    ) -> Video:
        """Make a video and wait for it; see `AsyncVisema.generate`. An interrupt (Ctrl-C) cancels the job."""
        return self._wrap(
            self._thread.run(
                self._client.generate(
                    portrait,
                    audio,
                    avatar_id=avatar_id,
                    text=text,
                    voice_id=voice_id,
                    settings=settings,
                    on_progress=on_progress,
                    timeout_s=timeout_s,
                )
            )
        )

    def job_spec(
        self,
        portrait: MediaSource | None = None,
        audio: MediaSource | None = None,
        *,
        avatar_id: str | None = None,
        text: str | None = None,
        voice_id: str = "",
        settings: VideoSettings | None = None,
    ) -> jobs_pb2.JobSpec:
        """Upload what is needed and put a job's spec together; see `AsyncVisema.job_spec`."""
        return self._thread.run(
            self._client.job_spec(portrait, audio, avatar_id=avatar_id, text=text, voice_id=voice_id, settings=settings)
        )

    def upload_portrait(self, source: MediaSource) -> common_pb2.ObjectRef:
        """Send a picture; see `AsyncVisema.upload_portrait`."""
        return self._thread.run(self._client.upload_portrait(source))

    def upload_audio(self, source: MediaSource) -> common_pb2.ObjectRef:
        """Send speech; see `AsyncVisema.upload_audio`."""
        return self._thread.run(self._client.upload_audio(source))

    def create_job(self, spec: jobs_pb2.JobSpec, *, request_id: str | None = None) -> jobs_pb2.Job:
        """Start a job; see `AsyncVisema.create_job`."""
        return self._thread.run(self._client.create_job(spec, request_id=request_id))

    def get_job(self, job_id: str) -> jobs_pb2.Job:
        """Read a job; see `AsyncVisema.get_job`."""
        return self._thread.run(self._client.get_job(job_id))

    def list_jobs(
        self,
        *,
        states: Sequence[jobs_pb2.JobState.ValueType] = (),
        avatar_id: str = "",
        page_size: int = jobs.PAGE_SIZE,
    ) -> Iterator[jobs_pb2.Job]:
        """All jobs, newest first; see `AsyncVisema.list_jobs`."""
        return self._thread.iterate(self._client.list_jobs(states=states, avatar_id=avatar_id, page_size=page_size))

    def watch_job(self, job_id: str, *, after_sequence: int = 0) -> Iterator[jobs_pb2.WatchJobResponse]:
        """A job's events up to its end; see `AsyncVisema.watch_job`."""
        return self._thread.iterate(self._client.watch_job(job_id, after_sequence=after_sequence))

    def wait_job(
        self, job_id: str, *, on_progress: ProgressCallback | None = None, timeout_s: float | None = None
    ) -> Video:
        """Wait until a job has ended; see `AsyncVisema.wait_job`."""
        return self._wrap(self._thread.run(self._client.wait_job(job_id, on_progress=on_progress, timeout_s=timeout_s)))

    def cancel_job(self, job_id: str) -> jobs_pb2.Job:
        """Ask a job to stop; see `AsyncVisema.cancel_job`."""
        return self._thread.run(self._client.cancel_job(job_id))

    def delete_job(self, job_id: str) -> None:
        """Delete an ended job with its result; see `AsyncVisema.delete_job`."""
        self._thread.run(self._client.delete_job(job_id))

    def inspect_portrait(
        self, portrait: MediaSource, *, face: portrait_pb2.FaceSelection | None = None
    ) -> portrait_pb2.InspectResponse:
        """Find the faces of a picture; see `AsyncVisema.inspect_portrait`."""
        return self._thread.run(self._client.inspect_portrait(portrait, face=face))

    def create_avatar(
        self,
        portrait: MediaSource,
        *,
        name: str = "",
        description: str = "",
        settings: VideoSettings | None = None,
        request_id: str | None = None,
    ) -> avatars_pb2.Avatar:
        """Register a portrait; see `AsyncVisema.create_avatar`."""
        return self._thread.run(
            self._client.create_avatar(
                portrait, name=name, description=description, settings=settings, request_id=request_id
            )
        )

    def get_avatar(self, avatar_id: str) -> avatars_pb2.Avatar:
        """Read an avatar; see `AsyncVisema.get_avatar`."""
        return self._thread.run(self._client.get_avatar(avatar_id))

    def list_avatars(self, *, page_size: int = jobs.PAGE_SIZE) -> Iterator[avatars_pb2.Avatar]:
        """All avatars, newest first; see `AsyncVisema.list_avatars`."""
        return self._thread.iterate(self._client.list_avatars(page_size=page_size))

    def wait_avatar(self, avatar_id: str, *, timeout_s: float | None = None) -> avatars_pb2.Avatar:
        """Wait until an avatar is prepared; see `AsyncVisema.wait_avatar`."""
        return self._thread.run(self._client.wait_avatar(avatar_id, timeout_s=timeout_s))

    def delete_avatar(self, avatar_id: str) -> None:
        """Delete an avatar; see `AsyncVisema.delete_avatar`."""
        self._thread.run(self._client.delete_avatar(avatar_id))

    def list_voices(self, *, language: str = "") -> Iterator[speech_pb2.Voice]:
        """The voices for `text`; see `AsyncVisema.list_voices`."""
        return self._thread.iterate(self._client.list_voices(language=language))

    def download(self, reference: common_pb2.ObjectRef, path: str | os.PathLike[str]) -> Path:
        """Write an object to a file; see `AsyncVisema.download`."""
        return self._thread.run(self._client.download(reference, path))

    def read(self, reference: common_pb2.ObjectRef) -> bytes:
        """The checked content of an object; see `AsyncVisema.read`."""
        return self._thread.run(self._client.read(reference))

    def iterate_object(
        self, reference: common_pb2.ObjectRef, *, offset_bytes: int = 0, length_bytes: int = 0
    ) -> Iterator[bytes]:
        """The bytes of an object or of a range of it; see `AsyncVisema.iterate_object`."""
        return self._thread.iterate(
            self._client.iterate_object(reference, offset_bytes=offset_bytes, length_bytes=length_bytes)
        )

    def _wrap(self, video: AsyncVideo) -> Video:
        return Video(video.job, video, self._thread)
