"""Measures both neural engines' networks on this machine, and the compute of 125 frames through both.

`python bench/neural.py [--device cpu|cuda] [--rounds N] [--threads N] [--batch N ...] [--compile]` needs torch, numpy
and our packages only, so it runs on a bare machine. See `neural_liveportrait.py` and `neural_wav2lip.py` for what
the columns mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import neural_liveportrait
import neural_wav2lip

CLIP_FRAMES = 125  # five seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, nargs="+", default=None, help="LivePortrait's batch sizes")
    parser.add_argument("--compile", action="store_true", help="also through torch.compile with CUDA graphs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"cpu, {arguments.threads} threads"
    print(f"{name}, torch {torch.__version__}\n\n{neural_liveportrait.HEADER}")
    batches = arguments.batch or ([1, 4, 8] if on_gpu else [1])
    portrait = neural_liveportrait.measure(device, arguments.rounds, batches, compiled=arguments.compile)
    for portrait_row in portrait:
        print(portrait_row)
    print(f"\n{neural_wav2lip.HEADER}")
    lips = neural_wav2lip.measure(device, arguments.rounds)
    for lips_row in lips:
        print(lips_row)
    frame_ms = min(row.frame_ms for row in portrait if row.network == "frame")
    lips_ms = min(row.frame_ms for row in lips if "still" not in row.name)
    print(f"\n{CLIP_FRAMES} frames through both: {CLIP_FRAMES * (frame_ms + lips_ms) / 1e3:.2f} s of compute")


if __name__ == "__main__":
    main()
