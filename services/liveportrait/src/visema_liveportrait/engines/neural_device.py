"""Where and in which number format the networks compute, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from visema_kit.device_memory import MemoryMeter
from visema_kit.errors import ResourceExhausted

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

        Raises: ValueError: CUDA is asked for and there is none.
        """
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        chosen = torch.device(name)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"VISEMA_DEVICE={device}, but this process sees no CUDA device")
        if precision != "auto":
            return cls(chosen, DTYPES[precision])
        if chosen.type == "cuda":
            return cls(chosen, torch.float16)
        return cls(chosen, torch.bfloat16 if _cpu_has_bfloat16() else torch.float32)

    @property
    def batch_frames(self) -> int:
        """Frames to compute at once."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    def watch_memory(self, meter: MemoryMeter) -> None:
        """Let `meter` report what torch holds of the device's memory; a CPU is not reported."""
        if self.device.type == "cuda":
            meter.watch(f"cuda:{self.device.index or 0}", partial(torch.cuda.memory_reserved, self.device))

    def __str__(self) -> str:
        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else ""
        return f"{self.device}{name} {str(self.dtype).removeprefix('torch.')}"


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; without it bfloat16 is slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in text or "amx_bf16" in text


class Batches:
    """Computes rows in batches, and in smaller ones once memory ran out."""

    def __init__(self, batch_frames: int, meter: MemoryMeter | None = None) -> None:
        self.batch_frames = batch_frames
        self._meter = meter or MemoryMeter()

    def run(self, compute: Callable[[Tensor], Tensor], rows: Tensor) -> list[Tensor]:
        """`compute` of all rows, batch by batch, in order.

        Raises: ResourceExhausted: not even one row fits; the device's cache is empty again.
        """
        results: list[Tensor] = []
        done = 0
        while done < len(rows):
            batch = rows[done : done + self.batch_frames]
            try:
                results.append(compute(batch))
            except torch.OutOfMemoryError as error:
                failed = error
            else:
                done += len(batch)
                self._meter.read()
                continue
            # Outside the handler: inside it the traceback keeps the tensors alive.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(batch) == 1:
                raise ResourceExhausted("The device has no memory for a single frame.", retry_after_s=1.0) from failed
            self.batch_frames = max(1, len(batch) // 2)
        return results
