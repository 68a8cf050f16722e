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
MEBIBYTE: Final = 1 << 20
SEGMENT_BYTES: Final = 20 * MEBIBYTE  # what torch's allocator takes of a device at a time

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
    """A `DeviceMemory`: what torch holds on a CUDA device, and what it can still get there."""

    def __init__(self, device: torch.device, limit_bytes: int = 0) -> None:
        """Of this device. Args: limit_bytes: Most that this process may hold; 0: all that is free."""
        self._device = device
        self._limit_bytes = limit_bytes

    @property
    def name(self) -> str:
        """E.g. `cuda:0`."""
        return f"cuda:{self._device.index or 0}"

    def used_bytes(self) -> int:
        """Everything that torch reserved, used or not: other processes cannot have it."""
        return torch.cuda.memory_reserved(self._device)

    def free_bytes(self) -> int:
        """Free on the device and within the limit, and reserved by torch without being used."""
        free, _ = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        if self._limit_bytes:
            free = min(free, max(0, self._limit_bytes - reserved))
        return free + reserved - torch.cuda.memory_allocated(self._device)

    def need_bytes(self, compute: Callable[[], object]) -> int:
        """What `compute()` makes torch take beyond what is allocated now, as `free_bytes` counts it.

        That is more than its tensors: torch takes segments, and cannot use every rest of one. Later they lie in another
        order, so one segment more counts as needed.
        """
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        compute()
        return torch.cuda.max_memory_reserved(self._device) - before + SEGMENT_BYTES


def watch_memory(meter: DeviceMeter, device: torch.device, limit_mib: int = 0) -> None:
    """Let `meter` report the device's memory, before any of it is used; a CPU's is not reported.

    torch keeps what it once took, so processes that share a card need shares: without them the first to be busy leaves
    the others nothing.

    Args: limit_mib: Most that torch may take, workspaces of its libraries included; beyond, a computation runs out of
        memory although the card has some. 0: all that is free.
    """
    if device.type != "cuda":
        return
    limit_bytes = limit_mib * MEBIBYTE
    if limit_bytes:
        _, total = torch.cuda.mem_get_info(device)
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
    meter.watch(CudaMemory(device, limit_bytes))


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
