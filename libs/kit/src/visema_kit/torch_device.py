"""Where torch computes, and what happens when memory runs out. For engine code: nothing else imports torch."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import torch

from visema_kit.device_meter import DeviceMeter
from visema_kit.errors import CheckpointMissing, ResourceExhausted

T = TypeVar("T")

GROW_AFTER: Final = 64  # good batches in a row after which a larger one is tried again
MEMORY_RETRY_S: Final = 5.0

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device that `VISEMA_DEVICE` stands for; `auto` is the first GPU if there is one.

    Raises: CheckpointMissing: CUDA is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CheckpointMissing(
            f"The neural engine cannot run here: VISEMA_DEVICE={name}, but this process sees no CUDA device.",
            metadata={"device": name},
        )
    return device


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; without it bfloat16 is slower than float32."""
    # Older releases of torch cannot tell: float32 is right there.
    features: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


class CudaMemory:
    """A `DeviceMemory`: what torch holds on a CUDA device, and what is free there."""

    def __init__(self, device: torch.device) -> None:
        """Of this device."""
        self._device = device

    @property
    def name(self) -> str:
        """E.g. `cuda:0`."""
        return f"cuda:{self._device.index or 0}"

    def used_bytes(self) -> int:
        """Everything that torch reserved, used or not: other processes cannot have it."""
        return torch.cuda.memory_reserved(self._device)

    def free_bytes(self) -> int:
        """Free on the device, and reserved by torch without being used."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)

    def need_bytes(self, compute: Callable[[], object]) -> int:
        """Peak of `compute()` above what was allocated before."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        compute()
        return torch.cuda.max_memory_allocated(self._device) - before


def watch_memory(meter: DeviceMeter, device: torch.device) -> None:
    """Let `meter` report the device's memory; a CPU's is not reported."""
    if device.type == "cuda":
        meter.watch(CudaMemory(device))


def with_memory(compute: Callable[[], T]) -> T:
    """`compute()`, which cannot be divided.

    Raises: ResourceExhausted: it does not fit into the device's memory; the device's cache is empty again.
    """
    (result,) = Batches("", 1).run(1, lambda _: compute())
    return result


class Batches:
    """Computes frames in batches: smaller ones once memory ran out, larger ones when that went well for long.

    One for each model, used on its device's thread only. A job fails only if a single frame does not fit, and leaves
    nothing behind that would make the next one fail.
    """

    def __init__(self, engine: str, most_frames: int, meter: DeviceMeter | None = None) -> None:
        """Begin with the largest batch.

        Args:
            engine: Label of the metrics.
            most_frames: Frames at once, while memory allows.
            meter: Learns of each batch.
        """
        self.frames = most_frames
        self._engine = engine
        self._most_frames = most_frames
        self._meter = meter or DeviceMeter()
        self._good_batches = 0

    def run(self, count: int, compute: Callable[[slice], T]) -> Iterator[T]:
        """Compute `count` frames in order.

        Args: compute: Given the positions of some frames, computes them; is repeated with fewer when memory ran out.
        Yields: what `compute` returns.
        Raises: ResourceExhausted: not even one frame fits; the device's cache is empty again.
        """
        done = 0
        while done < count:
            part = slice(done, min(done + self.frames, count))
            try:
                result = compute(part)
            except torch.OutOfMemoryError as error:
                traceback.clear_frames(error.__traceback__)  # their variables hold what did not fit
                self._shrink(part.stop - done, error)
                continue
            done = part.stop
            self._meter.batch_done(self._engine, part.stop - part.start)
            self._grow()
            yield result

    def _shrink(self, failed_frames: int, error: torch.OutOfMemoryError) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the failed attempt's blocks do not fit the smaller one
        self._good_batches = 0
        if failed_frames == 1:
            raise ResourceExhausted(
                "The device has no memory for a single frame.", retry_after_s=MEMORY_RETRY_S
            ) from error
        self.frames = failed_frames // 2
        log.warning("out of memory: at most %d frames at once from now on", self.frames)

    def _grow(self) -> None:
        """Another process may have given memory back."""
        if self.frames < self._most_frames:
            self._good_batches += 1
            if self._good_batches == GROW_AFTER:
                self.frames, self._good_batches = min(2 * self.frames, self._most_frames), 0
