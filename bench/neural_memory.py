"""What both neural engines take of a GPU's memory, alone and together, for videos of several lengths.

`python bench/neural_memory.py [--device meta|cuda] [--seconds 5 60]` needs torch, numpy and our packages only. The
services' own code computes with what a GPU gets by default: float16, full batches, the cache of prepared portraits
full. Every tensor is accounted by the rules of torch's CUDA allocator. Without a GPU that happens on torch's `meta`
device, which has shapes and number formats and no numbers; with one the driver's figures stand beside.

An account does not see what kernels take and give back inside. The column `copies` is the same with every convolution
and matrix product taking as much again as its operands and its result.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from neural_timing import synchronise  # finds our packages on a machine that has installed none
from support.cuda_allocator import MEBIBYTE, Card
from support.engine_memory import (
    PREPARED_BYTES,
    STREAMS,
    LipProcess,
    PortraitProcess,
    Process,
    portrait_networks,
)
from visema_wav2lip.engines.neural_generator import GPU_BATCH
from visema_wav2lip.model.wav2lip import Wav2Lip

FRAMES_PER_SECOND = 25
ROOMY = 1 << 40  # bytes of a card on which nothing is refused


@dataclass(frozen=True, slots=True)
class Row:
    """One service. Attributes: peaks_mib: of tensors, by length; driver_mib: of tensors and segments, as torch says."""

    service: str
    weights_mib: float
    kept_mib: float
    admission_mib: float
    peaks_mib: list[float]
    reserved_mib: float
    copies_mib: float
    driver_mib: tuple[float, float] | None

    def __str__(self) -> str:
        cells = [self.weights_mib, self.kept_mib, *self.peaks_mib, self.reserved_mib, self.copies_mib]
        cells += [self.admission_mib, *(self.driver_mib or ())]
        return f"| {self.service} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |"


def portraits(device: torch.device, seconds: Sequence[int], *, copies: bool) -> tuple[Process, list[float]]:
    """Stage 1: what it holds with its networks, what it keeps besides, and the peak after videos of these lengths."""
    process = PortraitProcess(Card(ROOMY), device, copies=copies)
    process.start(portrait_networks())
    held = [process.allocator.allocated_bytes]
    source = process.prepare()
    kept = [process.like(source) for _ in range(PREPARED_BYTES // source.size_bytes + STREAMS)]
    held.append(process.allocator.allocated_bytes - held[0])
    for length in seconds:
        process.allocator.reset_peaks()
        process.render(kept[-1], 1)  # as the service: its speed is not known yet
        for _ in range(length):
            process.render(kept[-1], FRAMES_PER_SECOND)
        held.append(process.allocator.peak_allocated_bytes)
    return process, [size / MEBIBYTE for size in held]


def mouths(device: torch.device, seconds: Sequence[int], *, copies: bool) -> tuple[Process, list[float]]:
    """Stage 2, likewise. It keeps nothing."""
    process = LipProcess(Card(ROOMY), device, copies=copies)
    process.start(Wav2Lip().eval())
    held = [process.allocator.allocated_bytes, 0]
    for length in seconds:
        process.allocator.reset_peaks()
        for first in range(0, length * FRAMES_PER_SECOND, GPU_BATCH):
            process.speak(min(GPU_BATCH, length * FRAMES_PER_SECOND - first))
        held.append(process.allocator.peak_allocated_bytes)
    return process, [size / MEBIBYTE for size in held]


def measure(device: torch.device, seconds: Sequence[int]) -> list[Row]:
    """Both services, one after the other."""
    rows = []
    for name, run in (("liveportrait", portraits), ("wav2lip", mouths)):
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        process, (weights, kept, *peaks) = run(device, seconds, copies=False)
        driver = None
        if device.type == "cuda":
            synchronise(device)
            allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
            driver = (allocated / MEBIBYTE, reserved / MEBIBYTE)
        row = (process.needed_bytes / MEBIBYTE, peaks, process.allocator.peak_reserved_bytes / MEBIBYTE)
        del process
        copied, _ = run(device, seconds[:1], copies=True)
        rows.append(Row(name, weights, kept, *row, copied.allocator.peak_reserved_bytes / MEBIBYTE, driver))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "meta")
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 60])
    arguments = parser.parse_args()
    name = "no device" if arguments.device.type == "meta" else torch.cuda.get_device_name(arguments.device)
    print(f"{name}, torch {torch.__version__}\n")
    rows = measure(arguments.device, arguments.seconds)
    lengths = [f"peak, {length} s" for length in arguments.seconds]
    driver = ["torch: allocated", "torch: reserved"] if arguments.device.type == "cuda" else []
    columns = ["MiB", "weights", "portraits", *lengths, "reserved", "reserved, copies", "admission", *driver]
    print("|", " | ".join(columns), "|\n|---|" + "---:|" * (len(columns) - 1))
    print("\n".join(map(str, rows)))
    print(f"\ntogether: {sum(row.reserved_mib for row in rows):.0f} MiB reserved", end=", ")
    print(f"{sum(row.copies_mib for row in rows):.0f} with copies")


if __name__ == "__main__":
    main()
