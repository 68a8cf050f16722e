"""Measures the LivePortrait networks: our inference against the plain networks, in one process, and against what the
device can do.

`python bench/neural_liveportrait.py [--device cpu|cuda] [--rounds N] [--threads N] [--batch N ...] [--compile]` needs
torch, numpy and our packages only, and fills the networks with the synthetic weights of `tests/golden`. Per network
and way to compute: milliseconds per frame (median of interleaved rounds), the factor against plain eager float32 with
one frame at a time, the share of the compute floor (GFLOP of the official network over the measured peak of a large
matrix product in the decoder's type), peak memory and the distance of the picture from float32 in decibels.

`measure` is for `bench/neural.py`.
"""

from __future__ import annotations

import argparse
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
for source in (
    "libs/kit/src",
    "libs/media/src",
    "services/liveportrait/src",
    "tests",
):  # a bare machine installs nothing
    sys.path.insert(0, str(REPOSITORY / source))

from golden import weights  # noqa: E402  found through the paths above
from visema_liveportrait import model  # noqa: E402  found through the paths above
from visema_liveportrait.model.fast import FrameNetwork, SourceVolume, optimised  # noqa: E402  found through the paths above

# GFLOP per frame of the official networks, 2 per multiply-add, from the manifest.
GFLOP = {"F": 64.1, "M": 11.6, "W": 342.1, "G": 891.6, "frame": 342.1 + 891.6}
MATRIX = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class Row:
    """One network in one way. Attributes: of_floor: share of the device's measured peak; psnr_db: against float32."""

    network: str
    way: str
    frame_ms: float
    factor: float
    of_floor: float
    peak_mib: float
    psnr_db: float | None

    def __str__(self) -> str:
        psnr = "" if self.psnr_db is None else f"{self.psnr_db:.1f}"
        return (
            f"| {self.network} | {self.way} | {self.frame_ms:.1f} | {1e3 / self.frame_ms:.2f} | {self.factor:.2f} "
            f"| {100 * self.of_floor:.0f} % | {self.peak_mib:.0f} | {psnr} |"
        )


HEADER = (
    "| network | way | ms/frame | frames/s | × plain | of floor | peak MiB | PSNR dB |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|"
)


@dataclass(frozen=True, slots=True)
class _Way:
    """Attributes: run: computes `frames` frames and returns what the pictures are judged by, if it makes pictures."""

    network: str
    name: str
    frames: int
    dtype: torch.dtype
    run: Callable[[], Any]


class Plain:
    """The networks as they are written: float32, contiguous, one frame at a time."""

    def __init__(self, device: torch.device) -> None:
        self.appearance = synthetic(model.AppearanceFeatureExtractor(), "appearance_feature_extractor", device)
        self.motion = synthetic(model.MotionExtractor(), "motion_extractor", device)
        self.warping = synthetic(model.WarpingNetwork(), "warping_module", device)
        self.decoder = synthetic(model.SPADEDecoder(), "spade_generator", device)


def synthetic(network: Any, name: str, device: torch.device) -> Any:
    """`network` with the goldens' weights."""
    state = weights.fill_state(weights.manifest_shapes(name))
    network.load_state_dict({key: torch.from_numpy(values) for key, values in state.items()})
    return network.eval().requires_grad_(requires_grad=False).to(device)


def best_dtype(device: torch.device) -> torch.dtype:
    return torch.float16 if device.type == "cuda" else torch.bfloat16


@torch.inference_mode()
def measure(device: torch.device, rounds: int, batches: Sequence[int], *, compiled: bool) -> list[Row]:
    """Time every network in every way."""
    chain = weights.load_goldens("lp_chain")
    picture = torch.from_numpy(chain["src.img_crop_256_u8"].astype(np.float32) / 255).permute(2, 0, 1)[None]
    picture = picture.contiguous().to(device)
    x_s = torch.from_numpy(chain["src.x_s"]).to(device)
    x_d = torch.from_numpy(chain["proc.x_d"]).to(device)  # 3 frames
    plain = Plain(device)
    volume = plain.appearance(picture)
    dtype = best_dtype(device)
    ways = [
        _Way("F", "plain float32 (once per portrait)", 1, torch.float32, lambda: plain.appearance(picture)),
        _Way("M", "plain float32 (once per portrait)", 1, torch.float32, lambda: plain.motion(picture)),
        _Way("W", "plain float32", 1, torch.float32, lambda: plain.warping(volume, x_d[:1], x_s)["out"]),
    ]
    warped = plain.warping(volume, x_d[:1], x_s)["out"]
    ways += [
        _Way("G", "plain float32", 1, torch.float32, lambda: plain.decoder(warped)),
        _Way(
            "frame",
            "plain float32",
            1,
            torch.float32,
            lambda: _to_bytes(plain.decoder(plain.warping(volume, x_d[:1], x_s)["out"])),
        ),
    ]
    exact = optimised(plain.warping, plain.decoder, dtype=torch.float32, device=device)
    ways += _ways_of(exact, "rewritten float32", torch.float32, (1,), exact.prepare(volume, x_s), x_d)
    fast = optimised(plain.warping, plain.decoder, dtype=dtype, device=device)
    label = f"rewritten {str(dtype).removeprefix('torch.')}"
    ways += _ways_of(fast, label, dtype, batches, fast.prepare(volume, x_s), x_d)
    if compiled:
        graph = optimised(plain.warping, plain.decoder, dtype=dtype, device=device)
        graph.warp.compile(mode="max-autotune")
        graph.decoder.compile(mode="max-autotune")
        ways += _ways_of(graph, "rewritten, compiled", dtype, batches, graph.prepare(volume, x_s), x_d)
    return _timed(ways, device, rounds)


def _ways_of(  # noqa: PLR0917  a private helper, called three times in one place
    network: FrameNetwork,
    name: str,
    dtype: torch.dtype,
    batches: Sequence[int],
    source: SourceVolume,
    x_d: torch.Tensor,
) -> list[_Way]:
    """Warp, decoder and frame of a fast network at every batch size."""
    ways = []
    for batch in batches:
        rows = x_d[torch.arange(batch, device=x_d.device) % len(x_d)]
        warped = network.warp(source, rows)["out"].clone()
        label = f"{name}, batch {batch}"
        ways += [
            _Way("W", label, batch, dtype, lambda rows=rows: network.warp(source, rows)["out"]),
            _Way("G", label, batch, dtype, lambda warped=warped: network.decoder(warped)),
            _Way("frame", label, batch, dtype, lambda rows=rows: _to_bytes(network(source, rows))),
        ]
    return ways


def _to_bytes(pictures: torch.Tensor) -> torch.Tensor:
    """As the engine hands them on: uint8 (B, 512, 512, 3) on the CPU, B, G, R."""
    return (pictures.clamp(0, 1) * 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous().cpu()


def _timed(ways: list[_Way], device: torch.device, rounds: int) -> list[Row]:
    seconds: dict[int, list[float]] = {index: [] for index in range(len(ways))}
    memory: dict[int, float] = {}
    first_frames: dict[int, torch.Tensor] = {}
    for index, way in enumerate(ways):  # warm, judged, and its memory taken
        reset_peak(device)
        result = way.run()
        synchronise(device)
        memory[index] = peak_mib(device)
        if way.network == "frame":
            first_frames[index] = result[0].double()
    for _ in range(rounds):  # interleaved: a busy moment hits all of them
        for index, way in enumerate(ways):
            start = time.perf_counter()
            way.run()
            synchronise(device)
            seconds[index].append((time.perf_counter() - start) / way.frames)
    median = {index: statistics.median(times) for index, times in seconds.items()}
    baseline = {way.network: median[index] for index, way in reversed(list(enumerate(ways)))}
    reference = next(iter(first_frames.values()))
    peaks = {dtype: peak_gflops(device, dtype) for dtype in {way.dtype for way in ways}}
    rows = []
    for index, way in enumerate(ways):
        psnr = None
        if index in first_frames:
            error = (first_frames[index] - reference).square().mean().item() / 255**2
            psnr = -10 * np.log10(max(error, 1e-10))
        rows.append(
            Row(
                network=way.network,
                way=way.name,
                frame_ms=1e3 * median[index],
                factor=baseline[way.network] / median[index],
                of_floor=GFLOP[way.network] / peaks[way.dtype] / median[index],
                peak_mib=memory[index],
                psnr_db=psnr,
            )
        )
    return rows


def peak_gflops(device: torch.device, dtype: torch.dtype) -> float:
    """Most GFLOP/s of a square matrix product."""
    side = MATRIX[device.type]
    a = torch.rand(side, side, device=device).to(dtype)
    best = 0.0
    for _ in range(30):
        synchronise(device)
        start = time.perf_counter()
        a @ a
        synchronise(device)
        best = max(best, 2e-9 * side**3 / (time.perf_counter() - start))
    return best


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float:
    """Peak of the GPU's memory since `reset_peak`; of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--compile", action="store_true", help="also through torch.compile with CUDA graphs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} threads"
    print(f"{name}, torch {torch.__version__}\n\n{HEADER}")
    for row in measure(device, arguments.rounds, arguments.batch, compiled=arguments.compile):
        print(row)


if __name__ == "__main__":
    main()
