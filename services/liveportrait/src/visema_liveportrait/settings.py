"""Environment variables of the service, beyond those that all services share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from visema_kit.settings import ServiceSettings
from visema_media.limits import MEBIBYTE, MediaLimits
from visema_media.segments import DEFAULT_CODEC, SegmentCodec


class LiveportraitSettings(ServiceSettings):
    """What `python -m visema_liveportrait` reads."""

    loop_s: float = Field(default=10.0, ge=0.1, le=120, description="Length of the idle loop in seconds.")
    segment_s: float = Field(default=1.0, ge=0.1, le=10, description="Length of a segment in seconds.")
    segment_codec: SegmentCodec = Field(default=DEFAULT_CODEC, description="How the frames of a segment are stored.")
    max_video_s: float = Field(default=600.0, gt=0, description="Longest animation that one call may ask for.")
    max_image_bytes: int = Field(default=5 * MEBIBYTE, ge=1, description="Largest portrait file.")
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="Most pixels of a portrait.")
    prepared_cache_mib: int = Field(
        default=512, ge=0, description="Memory for prepared portraits; the one used longest ago goes first."
    )
    checkpoint_dir: Path | None = Field(default=None, description="Folder with the checkpoints of the neural engine.")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Device of the neural engine.")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="Number format of the neural engine."
    )
    device_memory_mib: int = Field(
        default=0,
        ge=0,
        description="Most MiB of a GPU that the neural engine may take where it shares one; 0: all that is free.",
    )
    torch_compile: bool = Field(
        default=False,
        description="Compile the neural engine's networks at the start, on a GPU as CUDA graphs; needs a C compiler.",
    )

    def media_limits(self) -> MediaLimits:
        """Bounds on portraits."""
        return MediaLimits(image_bytes=self.max_image_bytes, image_pixels=self.max_image_pixels)
