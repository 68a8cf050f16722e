"""What the quality meter reads off a perfect video: the portrait itself, moved as a whole by whole pixels.

    python tools/meter_floor.py [--size 1024] [--crf 1] [PORTRAIT…]

No pixel is resampled and nothing turns, speaks or blinks, so whatever the meter then finds in the face's colour and
rotation is its own error on that picture. Needs ../shared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from quality import PORTRAITS, measure, write_framed_portrait
from visema_encoder.mp4 import Mp4Writer
from visema_encoder.options import EncodingOptions, VideoShape

FRAME_RATE, FRAME_COUNT = Fraction(25), 125
REACH_PX = (8.0, 5.0)  # at 512 pixels, as far as our heads shift
PATHS = 3
FIGURES = ("blue_shift", "face_dE", "upper_ssim", "upper_sharp", "head_noise_deg", "head_hf_ratio")


def whole_pixel_path(seed: int, scale: float) -> npt.NDArray[np.int64]:
    """A slow path from rest: int (N, 2), right and down."""
    phases = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, 2)
    time_s = np.arange(FRAME_COUNT) / float(FRAME_RATE)
    sway = np.sin(2.0 * np.pi * np.outer(time_s, (0.31, 0.37)) + phases)
    return np.round(scale * np.minimum(time_s, 1.0)[:, None] * sway * REACH_PX).astype(np.int64)


def moved(picture: npt.NDArray[np.uint8], path: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The picture along the path, its border mirrored: uint8 (N, H, W, 3)."""
    margin = int(np.abs(path).max())
    height, width = picture.shape[:2]
    wide = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return np.stack([wide[margin - y : margin - y + height, margin - x : margin - x + width] for x, y in path])


def main() -> None:
    """Print the median of each figure over some paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="*", help="names such as mona_lisa; all when none is given")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--crf", type=int, default=1)
    arguments = parser.parse_args()
    silence = np.zeros((1, 5 * 48_000), np.float32)
    shape = VideoShape(arguments.size, arguments.size, FRAME_RATE, FRAME_COUNT)
    for sample in PORTRAITS:
        if arguments.portraits and sample.name not in arguments.portraits:
            continue
        with tempfile.TemporaryDirectory() as folder:
            framed, video = Path(folder, "portrait.png"), Path(folder, "video.mp4")
            write_framed_portrait(sample, arguments.size, framed)
            picture = np.asarray(cv2.imread(str(framed)), np.uint8)
            runs = []
            for seed in range(PATHS):
                with Mp4Writer(video, shape, silence, EncodingOptions(crf=arguments.crf), {}) as writer:
                    writer.write(moved(picture, whole_pixel_path(seed, arguments.size / 512)))
                    writer.finish()
                runs.append(measure(framed, None, video))
        medians = {figure: statistics.median(run[figure] for run in runs) for figure in FIGURES}
        print(f"{sample.name}: " + ", ".join(f"{name} {value:.3f}" for name, value in medians.items()), flush=True)


if __name__ == "__main__":
    main()
