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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from neural_timing import Way, arguments_of, measure_all, peak_gflops, psnr_db, synthetic, weights
from visema_liveportrait import model
from visema_liveportrait.model.fast import FrameNetwork, SourceVolume, optimised

# GFLOP per frame of the official networks, 2 per multiply-add, from the manifest.
GFLOP = {"F": 64.1, "M": 11.6, "W": 342.1, "G": 891.6, "frame": 342.1 + 891.6}


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
class _Named:
    """A way and what it is a way of: W and G are the warp and the decoder, F and M run once per portrait."""

    network: str
    name: str
    way: Way


class Plain:
    """The networks as they are written: float32, contiguous, one frame at a time."""

    def __init__(self, device: torch.device) -> None:
        self.appearance = synthetic(model.AppearanceFeatureExtractor(), "appearance_feature_extractor", device)
        self.motion = synthetic(model.MotionExtractor(), "motion_extractor", device)
        self.warping = synthetic(model.WarpingNetwork(), "warping_module", device)
        self.decoder = synthetic(model.SPADEDecoder(), "spade_generator", device)


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
    ways: list[_Named] = []

    def add(network: str, name: str, run: Callable[[], Any]) -> None:
        ways.append(_Named(network, name, Way(run, 1, torch.float32, judged=network == "frame")))

    warped = plain.warping(volume, x_d[:1], x_s)["out"]
    add("F", "plain float32 (once per portrait)", lambda: plain.appearance(picture))
    add("M", "plain float32 (once per portrait)", lambda: plain.motion(picture))
    add("W", "plain float32", lambda: plain.warping(volume, x_d[:1], x_s)["out"])
    add("G", "plain float32", lambda: plain.decoder(warped))
    add("frame", "plain float32", lambda: _to_bytes(plain.decoder(plain.warping(volume, x_d[:1], x_s)["out"])))
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
    return _rows(ways, device, rounds)


def _ways_of(  # noqa: PLR0917  a private helper, called three times in one place
    network: FrameNetwork,
    name: str,
    dtype: torch.dtype,
    batches: Sequence[int],
    source: SourceVolume,
    x_d: torch.Tensor,
) -> list[_Named]:
    """Warp, decoder and frame of a fast network at every batch size."""
    ways = []
    for batch in batches:
        rows = x_d[torch.arange(batch, device=x_d.device) % len(x_d)]
        warped = _warped(network, source, rows).clone()
        label = f"{name}, batch {batch}"
        ways += [
            _Named("W", label, Way(partial(_warped, network, source, rows), batch, dtype, judged=False)),
            _Named("G", label, Way(partial(network.decoder, warped), batch, dtype, judged=False)),
            _Named("frame", label, Way(partial(_frames, network, source, rows), batch, dtype)),
        ]
    return ways


def _warped(network: FrameNetwork, source: SourceVolume, rows: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = network.warp(source, rows)["out"]
    return out


def _frames(network: FrameNetwork, source: SourceVolume, rows: torch.Tensor) -> torch.Tensor:
    return _to_bytes(network(source, rows))


def _to_bytes(pictures: torch.Tensor) -> torch.Tensor:
    """As the engine hands them on: uint8 (B, 512, 512, 3) on the CPU, B, G, R."""
    return (pictures.clamp(0, 1) * 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous().cpu()


def _rows(ways: list[_Named], device: torch.device, rounds: int) -> list[Row]:
    measured = measure_all([each.way for each in ways], device, rounds)
    plain_s: dict[str, float] = {}
    pictures: list[torch.Tensor] = []
    peaks = {dtype: peak_gflops(device, dtype) for dtype in {each.way.dtype for each in ways}}
    rows = []
    for each, found in zip(ways, measured, strict=True):
        baseline = plain_s.setdefault(each.network, found.frame_s)  # the first way of a network is the plain one
        psnr = None
        if each.network == "frame":
            pictures.append(found.result[0])
            psnr = psnr_db(found.result[0], pictures[0], 255)
        rows.append(
            Row(
                network=each.network,
                way=each.name,
                frame_ms=1e3 * found.frame_s,
                factor=baseline / found.frame_s,
                of_floor=GFLOP[each.network] / peaks[each.way.dtype] / found.frame_s,
                peak_mib=found.peak_mib,
                psnr_db=psnr,
            )
        )
    return rows


def main() -> None:
    arguments = arguments_of(__doc__.splitlines()[0])
    rows = measure(arguments.device, arguments.rounds, arguments.batch, compiled=arguments.compile)
    print("\n".join((HEADER, *map(str, rows))))


if __name__ == "__main__":
    main()
