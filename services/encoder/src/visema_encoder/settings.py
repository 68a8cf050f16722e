"""What the encoder reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import DirectoryPath, Field
from visema_kit.settings import ServiceSettings


class EncoderSettings(ServiceSettings):
    """The encoder's own variables; README.md holds the table."""

    scratch_dir: DirectoryPath | None = Field(
        default=None, description="Writable folder for files that are being written; empty: the system's."
    )
    encoder_workers: int = Field(
        default=2, ge=1, le=64, description="Threads that encode; videos beyond that take turns on them."
    )
    encoder_threads: int = Field(default=2, ge=1, le=32, description="Threads of x264 for one video.")
    encoder_max_in_flight: int = Field(
        default=4, ge=1, le=64, description="Segments that a client may send ahead at most."
    )
    encoder_max_video_s: float = Field(default=600.0, gt=0, description="Longest video in seconds.")
    encoder_time_limit_s: float = Field(
        default=900.0, gt=0, description="Seconds that one call may take, waiting for segments included."
    )

    def scratch(self, system_folder: str) -> Path:
        """The folder to use. Args: system_folder: where nothing is set."""
        return Path(self.scratch_dir or system_folder)
