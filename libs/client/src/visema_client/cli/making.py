"""One video, from checked files to a written file, with progress bars."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visema_client.cli.bars import stage_bars
from visema_client.cli.output import notes
from visema_client.cli.report import as_dict
from visema_client.settings import VideoSettings

if TYPE_CHECKING:
    from visema.orchestrator.v1 import jobs_pb2

    from visema_client.sync import Visema


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """What to make; fields as in `AsyncVisema.generate`."""

    settings: VideoSettings
    portrait: Path | None = None
    audio: Path | None = None
    avatar_id: str | None = None
    text: str | None = None
    voice_id: str = ""
    timeout_s: float | None = None

    def check(self, output: Path) -> None:
        """Find mistakes before a stack is started or anything is sent.

        Raises: OSError: a file is missing or cannot be read, or the output's folder cannot be written.
            ValueError: audio and text, or neither.
        """
        if (self.audio is None) == (self.text is None):
            raise ValueError("give either an audio file or --text")
        for path in filter(None, (self.portrait, self.audio)):
            path.open("rb").close()
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
        if not os.access(output.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output.parent))


@dataclass(frozen=True, slots=True)
class Made:
    """A video that was made.

    Attributes:
        job: The ended job.
        output: The written file.
        wall_s: From the first upload to the written file.
    """

    job: jobs_pb2.Job
    output: Path
    wall_s: float

    def as_json(self, **files: str) -> dict[str, Any]:
        """For `--json`; `files` names further files that were written."""
        return {
            "output": str(self.output),
            **files,
            "wall_s": round(self.wall_s, 3),
            "degraded": self.job.report.degraded,
            "job": as_dict(self.job),
        }


def make_video(client: Visema, request: VideoRequest, output: Path, *, quiet: bool) -> Made:
    """Upload, wait with progress bars, download. Raises: OSError, VisemaError: as in `Visema.generate`."""
    started = time.perf_counter()
    with stage_bars(shown=not quiet) as on_progress:
        video = client.generate(
            request.portrait,
            request.audio,
            avatar_id=request.avatar_id,
            text=request.text,
            voice_id=request.voice_id,
            settings=request.settings,
            on_progress=on_progress,
            timeout_s=request.timeout_s,
        )
    video.save(output)
    wall_s = time.perf_counter() - started
    if not quiet:
        notes().print(f"made {output} in {wall_s:.2f} s")
    return Made(video.job, output, wall_s)
