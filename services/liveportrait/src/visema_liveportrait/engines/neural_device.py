"""Where and in which number format the networks compute."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from visema_kit.torch_device import choose_device, cpu_has_bfloat16

CUDA_BATCH = 8  # frames at once: fills an H100, fits an 8 GB card
CPU_BATCH = 1  # more only evicts the cache
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A device and the number format of the image networks on it."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str, precision: str) -> ComputeDevice:
        """From the settings; `auto` takes CUDA where there is one, and the fastest format that is exact enough.

        Raises: CheckpointMissing: CUDA is asked for and there is none.
        """
        chosen = choose_device(device)
        if precision != "auto":
            return cls(chosen, DTYPES[precision])
        if chosen.type == "cuda":
            return cls(chosen, torch.float16)
        return cls(chosen, torch.bfloat16 if cpu_has_bfloat16() else torch.float32)

    @property
    def batch_frames(self) -> int:
        """Frames to compute at once."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    def __str__(self) -> str:
        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else ""
        return f"{self.device}{name} {str(self.dtype).removeprefix('torch.')}"
