"""What the benches of both neural engines share: synthetic networks, interleaved timing, the device's floor and memory.

Needs torch, numpy and our packages only; importing it lets a bare machine, which has installed none of ours, find them.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("libs/kit/src", "libs/media/src", "services/liveportrait/src", "services/wav2lip/src", "tests")
sys.path[:0] = [str(REPOSITORY / source) for source in SOURCES]

from golden import weights  # noqa: E402  found through the paths above

__all__ = ["Way", "arguments_of", "measure_all", "peak_gflops", "peak_mib", "psnr_db", "synthetic", "weights"]

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the product that shows a device's peak
PRODUCTS = 30


@dataclass(frozen=True, slots=True)
class Way:
    """A way to compute.

    Attributes:
        run: Computes the frames.
        frames: How many that are.
        dtype: Of most of the arithmetic: its peak is the floor.
        judged: Its result is kept; others would only fill the memory.
    """

    run: Callable[[], Any]
    frames: int
    dtype: torch.dtype
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """What a way took. Attributes: result, peak_mib: of its first run; frame_s: median of the others."""

    result: Any
    frame_s: float
    peak_mib: float


def measure_all(ways: Sequence[Way], device: torch.device, rounds: int) -> list[Measured]:
    """Run every way once, and then all of them in rounds: interleaved, so that a busy moment hits all."""
    results, memory = [], []
    for way in ways:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        result = way.run()
        synchronise(device)
        results.append(result if way.judged else None)
        del result
        memory.append(peak_mib(device))
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for index, way in enumerate(ways):
            start = time.perf_counter()
            way.run()
            synchronise(device)
            seconds[index].append((time.perf_counter() - start) / way.frames)
    return [
        Measured(result, statistics.median(times), peak)
        for result, times, peak in zip(results, seconds, memory, strict=True)
    ]


def synthetic(network: Any, name: str, device: torch.device) -> Any:
    """`network` with the goldens' weights. Args: name: its key in the goldens' manifest."""
    state = weights.fill_state(weights.manifest_shapes(name))
    network.load_state_dict({key: torch.from_numpy(values) for key, values in state.items()})
    return network.eval().requires_grad_(requires_grad=False).to(device)


def psnr_db(picture: Any, reference: Any, peak: float) -> float:
    """Distance of pictures whose values reach up to `peak`; 200 for equal ones."""
    error = np.mean((np.asarray(picture, np.float64) - np.asarray(reference, np.float64)) ** 2) / peak**2
    return -10 * math.log10(max(float(error), 1e-20))


def peak_gflops(device: torch.device, dtype: torch.dtype) -> float:
    """Most GFLOP/s of a square matrix product."""
    side = MATRIX[device.type]
    a = torch.rand(side, side, device=device).to(dtype)
    best = 0.0
    for _ in range(PRODUCTS):
        synchronise(device)
        start = time.perf_counter()
        a @ a
        synchronise(device)
        best = max(best, 2e-9 * side**3 / (time.perf_counter() - start))
    return best


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(device: torch.device) -> float:
    """Peak of the GPU's memory since it was reset; of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def arguments_of(description: str) -> argparse.Namespace:
    """The command line; says what computes and takes the threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, nargs="+", default=None, help="LivePortrait's batch sizes")
    parser.add_argument("--compile", action="store_true", help="LivePortrait also through torch.compile")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.batch is None:
        arguments.batch = [1, 4, 8] if arguments.device.type == "cuda" else [1]
    name = f"cpu, {arguments.threads} threads"
    if arguments.device.type == "cuda":
        name = torch.cuda.get_device_name(arguments.device)
    print(f"{name}, torch {torch.__version__}\n")
    return arguments
