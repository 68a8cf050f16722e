"""Measures both neural engines' networks on this machine, and the compute of 125 frames through both.

`python bench/neural.py [--device cpu|cuda] [--rounds N] [--threads N] [--batch N ...] [--compile]` needs torch, numpy
and our packages only, so it runs on a bare machine. See `neural_liveportrait.py` and `neural_wav2lip.py` for what
the columns mean.
"""

from __future__ import annotations

import neural_liveportrait
import neural_wav2lip
from neural_timing import arguments_of

CLIP_FRAMES = 125  # five seconds


def main() -> None:
    arguments = arguments_of(__doc__.splitlines()[0])
    portrait = neural_liveportrait.measure(
        arguments.device, arguments.rounds, arguments.batch, compiled=arguments.compile
    )
    print("\n".join((neural_liveportrait.HEADER, *map(str, portrait))), end="\n\n")
    lips = neural_wav2lip.measure(arguments.device, arguments.rounds)
    print("\n".join((neural_wav2lip.HEADER, *map(str, lips))), end="\n\n")
    frame_ms = min(row.frame_ms for row in portrait if row.network == "frame")
    lips_ms = min(row.frame_ms for row in lips if "still" not in row.name)
    print(f"{CLIP_FRAMES} frames through both: {CLIP_FRAMES * (frame_ms + lips_ms) / 1e3:.2f} s of compute")


if __name__ == "__main__":
    main()
