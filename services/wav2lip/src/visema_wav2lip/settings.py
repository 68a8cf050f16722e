"""What the lip-sync service reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from visema_kit.settings import ServiceSettings
from visema_media.segments import DEFAULT_CODEC, SegmentCodec


class Wav2LipSettings(ServiceSettings):
    """The service's own variables, beyond those that all services share."""

    wav2lip_max_in_flight: int = Field(
        default=4, ge=1, le=64, description="Segments that a client of lip-sync may send ahead at most."
    )
    segment_codec: SegmentCodec = Field(default=DEFAULT_CODEC, description="How the frames of a segment are stored.")
    max_video_s: float = Field(default=600.0, gt=0, description="Longest video that one call may ask for.")
    checkpoint_dir: Path | None = Field(default=None, description="Folder with the checkpoints of the neural engine.")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Device of the neural engine.")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="Number format of the neural engine."
    )
    lipsync_backend: Literal["auto", "torch", "openvino"] = Field(
        default="auto", description="What the neural engine computes with; `auto` takes OpenVINO on a CPU that has it."
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
    silence_gate_db: float | None = Field(
        default=None, gt=0, le=100, description="The neural engine takes sound this far below the speech as silence."
    )
    accept_licenses: str = Field(
        default="",
        description="Licences that the operator accepts, with commas; weights with such a licence load only then.",
    )

    def accepted_licenses(self) -> frozenset[str]:
        """The accepted licences as names."""
        return frozenset(name.strip() for name in self.accept_licenses.split(",") if name.strip())
