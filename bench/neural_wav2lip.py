"""Measures the Wav2Lip generator: our inference against the plain network, in one process, and against what the
device can do.

`python bench/neural_wav2lip.py [--device cpu|cuda] [--rounds N] [--threads N]` needs torch, numpy and our packages
only (OpenVINO if it is there), and fills the network with the synthetic weights of `tests/golden`. Per way to
compute: milliseconds and frames per second (median of interleaved rounds over one second of video), the factor
against plain eager float32 with one frame at a time, the share of the compute floor (7.93 GFLOP per frame over the
measured peak of a large matrix product in the decoder's type), peak memory and the distance from float32 in decibels.

`measure` is for `bench/neural.py`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import torch
from neural_timing import Way, arguments_of, measure_all, peak_gflops, psnr_db, synthetic, weights
from visema_wav2lip.engines import neural_generator as inference
from visema_wav2lip.masking import with_hidden_half
from visema_wav2lip.model import Wav2Lip

FRAME_COUNT = 25  # a segment: one second
GFLOP_PER_FRAME = 7.93


@dataclass(frozen=True, slots=True)
class Row:
    """One way to compute. Attributes: of_floor: share of the device's measured peak; psnr_db: against plain float32."""

    name: str
    frame_ms: float
    frames_per_second: float
    factor: float
    of_floor: float
    peak_mib: float
    psnr_db: float

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.frame_ms:.2f} | {self.frames_per_second:.1f} | {self.factor:.2f} "
            f"| {100 * self.of_floor:.0f} % | {self.peak_mib:.0f} | {self.psnr_db:.1f} |"
        )


HEADER = (
    "| wav2lip | ms/frame | frames/s | × plain | of floor | peak MiB | PSNR dB |\n|---|---:|---:|---:|---:|---:|---:|"
)


def measure(device: torch.device, rounds: int) -> list[Row]:
    """Time every way to compute that this machine offers."""
    network = synthetic(Wav2Lip(), "wav2lip", torch.device("cpu"))
    rng = np.random.default_rng(0)
    goldens = weights.load_goldens("w2l")
    pictures = np.concatenate((goldens["datagen.0.img_u8"], goldens["datagen.1.img_u8"]))[..., 3:]
    noise = rng.integers(-2, 3, (FRAME_COUNT, 96, 96, 3))  # so that no two faces are equal
    crops = np.clip(pictures[np.arange(FRAME_COUNT) % len(pictures)] + noise, 0, 255).astype(np.uint8)
    columns = 3 * np.arange(FRAME_COUNT)[:, None] + np.arange(16)
    windows = np.ascontiguousarray(goldens["mel"][:, columns].transpose(1, 0, 2))
    still = np.repeat(crops[:1], FRAME_COUNT, axis=0)

    plain = Plain(network, device)
    ways = {
        "plain eager float32, 1 frame at a time": Way(lambda: plain.run(windows, crops), FRAME_COUNT, torch.float32)
    }

    def add(name: str, generator: inference.FaceGenerator, faces: np.ndarray, dtype: torch.dtype) -> None:
        ways[name] = Way(lambda: np.concatenate(list(generator.batches(windows, faces, 1.0))), FRAME_COUNT, dtype)

    best = inference.best_precision(device)
    batches = (1, 8, inference.CPU_BATCH, FRAME_COUNT) if device.type == "cpu" else (1, 8, FRAME_COUNT)
    for batch in batches:
        generator = inference.TorchGenerator(network, device, best, batch)
        add(f"torch {best.name}, batch {batch}", generator, crops, best.decoder)
    middle = batches[-2]
    exact = inference.TorchGenerator(network, device, inference.FLOAT32, middle)
    add(f"torch fp32 folded, batch {middle}", exact, crops, torch.float32)
    fast = inference.TorchGenerator(network, device, best, middle)
    add(f"torch {best.name}, batch {middle}, still picture", fast, still, best.decoder)
    if device.type == "cpu" and importlib.util.find_spec("openvino") is not None:
        from visema_wav2lip.engines.neural_openvino import OpenVinoGenerator  # noqa: PLC0415  optional

        for batch in (middle, FRAME_COUNT):
            accelerated = OpenVinoGenerator(network, best, batch, threads=torch.get_num_threads())
            add(f"openvino {best.name}, batch {batch}", accelerated, crops, best.decoder)

    reference = {True: plain.run(windows, still), False: plain.run(windows, crops)}
    measured = dict(zip(ways, measure_all(list(ways.values()), device, rounds), strict=True))
    baseline_s = next(iter(measured.values())).frame_s
    peaks = {dtype: peak_gflops(device, dtype) for dtype in {way.dtype for way in ways.values()}}
    return [
        Row(
            name=name,
            frame_ms=1e3 * found.frame_s,
            frames_per_second=1 / found.frame_s,
            factor=baseline_s / found.frame_s,
            of_floor=GFLOP_PER_FRAME / peaks[ways[name].dtype] / found.frame_s,
            peak_mib=found.peak_mib,
            psnr_db=psnr_db(found.result, reference["still" in name], 1),
        )
        for name, found in measured.items()
    ]


class Plain:
    """The network as it is written: no folding, float32, contiguous, one frame at a time."""

    def __init__(self, network: Wav2Lip, device: torch.device) -> None:
        self._network, self._device = network.to(device), device

    @torch.inference_mode()
    def run(self, windows: np.ndarray, crops: np.ndarray) -> np.ndarray:
        """All frames: float32 (N, 96, 96, 3)."""
        faces = []
        for window, crop in zip(windows, crops, strict=True):
            face = torch.from_numpy(with_hidden_half(crop[None])).to(self._device) / 255
            face = face.permute(0, 3, 1, 2).contiguous()
            mel = torch.from_numpy(window[None, None]).to(self._device)
            faces.append(self._network(mel, face).permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(faces)


def main() -> None:
    arguments = arguments_of(__doc__.splitlines()[0])
    print("\n".join((HEADER, *map(str, measure(arguments.device, arguments.rounds)))))


if __name__ == "__main__":
    main()
