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

import argparse
import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
for source in ("libs/kit/src", "libs/media/src", "services/wav2lip/src", "tests"):  # a bare machine installs nothing
    sys.path.insert(0, str(REPOSITORY / source))

from golden import weights  # noqa: E402  found through the paths above
from visema_wav2lip.engines import neural_generator as inference  # noqa: E402  found through the paths above
from visema_wav2lip.masking import with_hidden_half  # noqa: E402  found through the paths above
from visema_wav2lip.model import Wav2Lip  # noqa: E402  found through the paths above

FRAME_COUNT = 25  # a segment: one second
GFLOP_PER_FRAME = 7.93
MATRIX = {"cpu": 2048, "cuda": 8192}


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
    network = synthetic_network()
    rng = np.random.default_rng(0)
    goldens = weights.load_goldens("w2l")
    pictures = np.concatenate((goldens["datagen.0.img_u8"], goldens["datagen.1.img_u8"]))[..., 3:]
    noise = rng.integers(-2, 3, (FRAME_COUNT, 96, 96, 3))  # so that no two faces are equal
    crops = np.clip(pictures[np.arange(FRAME_COUNT) % len(pictures)] + noise, 0, 255).astype(np.uint8)
    columns = 3 * np.arange(FRAME_COUNT)[:, None] + np.arange(16)
    windows = np.ascontiguousarray(goldens["mel"][:, columns].transpose(1, 0, 2))
    still = np.repeat(crops[:1], FRAME_COUNT, axis=0)

    plain = Plain(network, device)
    ways: dict[str, tuple[Callable[[], np.ndarray], torch.dtype]] = {
        "plain eager float32, 1 frame at a time": (lambda: plain.run(windows, crops), torch.float32)
    }

    def add(name: str, generator: inference.FaceGenerator, faces: np.ndarray, dtype: torch.dtype) -> None:
        ways[name] = (lambda: np.concatenate(list(generator.batches(windows, faces, 1.0))), dtype)

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
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    psnr: dict[str, float] = {}
    memory: dict[str, float] = {}
    for name, (run, _) in ways.items():  # warm, judged, and its memory taken
        reset_peak(device)
        pictures_out = run()
        memory[name] = peak_mib(device)
        error = np.mean((pictures_out.astype(np.float64) - reference["still" in name]) ** 2)
        psnr[name] = float(-10 * np.log10(max(error, 1e-20)))
    for _ in range(rounds):  # interleaved: a busy moment hits all of them
        for name, (run, _) in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) / FRAME_COUNT for name, times in seconds.items()}
    baseline = next(iter(median.values()))
    peaks = {dtype: peak_gflops(device, dtype) for dtype in {dtype for _, dtype in ways.values()}}
    return [
        Row(
            name=name,
            frame_ms=1e3 * median[name],
            frames_per_second=1 / median[name],
            factor=baseline / median[name],
            of_floor=GFLOP_PER_FRAME / peaks[dtype] / median[name],
            peak_mib=memory[name],
            psnr_db=psnr[name],
        )
        for name, (_, dtype) in ways.items()
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


def synthetic_network() -> Wav2Lip:
    """The generator with the goldens' weights."""
    network = Wav2Lip().eval().requires_grad_(requires_grad=False)
    state = weights.fill_state(weights.manifest_shapes("wav2lip"))
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    return network


def peak_gflops(device: torch.device, dtype: torch.dtype) -> float:
    """Most GFLOP/s of a square matrix product."""
    side = MATRIX[device.type]
    a = torch.rand(side, side, device=device).to(dtype)
    best = 0.0
    for _ in range(6):
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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} threads"
    print(f"{name}, torch {torch.__version__}\n\n{HEADER}")
    for row in measure(device, arguments.rounds):
        print(row)


if __name__ == "__main__":
    main()
