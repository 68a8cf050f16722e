"""What the speech service reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from visema_kit.settings import ServiceSettings


class SpeechSettings(ServiceSettings):
    """The speech service's own variables; README.md holds the table. `VISEMA_ENGINE` is about the picture."""

    speech_engine: Literal["auto", "neural", "embedded"] = Field(
        default="auto", description="Kind of engine; `auto` has neural voices where some are installed."
    )
    default_voice: str = Field(
        default="espeak/en-us",
        min_length=1,
        description="Voice of texts that name none and whose language is not recognised.",
    )
    checkpoint_dir: Path | None = Field(default=None, description="Folder with the checkpoints of the neural engine.")
    speech_max_audio_s: float = Field(default=600.0, gt=0, description="Longest speech in seconds.")
    speech_time_limit_s: float = Field(
        default=120.0, gt=0, description="Seconds that one call may take, waiting for its turn included."
    )
