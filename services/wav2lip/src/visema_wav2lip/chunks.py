"""Which mel columns belong to which video frame: exact integer arithmetic, a window for every frame.

A window is 16 columns (0.2 s) that start when the frame is shown. The published program stops at the first frame
whose window would pass the end of the audio, gives that frame the last 16 columns whatever their time, and drops
every frame after it: the last 0.2 s of speech never reach the video. `official_window_starts` repeats that for the
golden tests; serving uses `mel_windows`, which puts silence behind the audio and serves every frame, at any rational
rate, at its own time.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from visema_wav2lip.mel import COLUMNS_PER_SECOND, SILENCE

WINDOW_COLUMNS = 16  # 0.2 s: five frames at 25 fps

Floats = npt.NDArray[np.float32]


def window_start(frame: int, frame_rate: Fraction) -> int:
    """First mel column of the window of frame `frame` (0 for the first): floor(frame * 80 / rate), exactly."""
    return int(frame * COLUMNS_PER_SECOND / Fraction(frame_rate))


def mel_windows(mel: Floats, first_frame: int, count: int, frame_rate: Fraction) -> Floats:
    """Cut one 16-column mel window for each of `count` frames from `first_frame` on.

    Behind the end of `mel` there is silence, so a video may be longer than its audio and no tail is dropped. A window
    is a function of its frame's number only: cutting a video into segments changes nothing.

    Args: mel: float32 (80, T), log-mel in [-4, 4], 80 columns per second; any T.
    Returns: float32 (count, 80, 16).
    Raises: ValueError: a negative frame or count, or a rate that is not positive.
    Source: Wav2Lip (Prajwal et al., 2020); the tail is ours (ADR 0005).
    """
    if first_frame < 0 or count < 0 or frame_rate <= 0:
        raise ValueError(f"no such frames: {count} from {first_frame} on at {frame_rate} per second")
    starts = [window_start(first_frame + i, frame_rate) for i in range(count)]
    windows = np.full((count, mel.shape[0], WINDOW_COLUMNS), SILENCE, np.float32)
    for window, start in zip(windows, starts, strict=True):
        columns = mel[:, start : start + WINDOW_COLUMNS]
        window[:, : columns.shape[1]] = columns
    return windows


def official_window_starts(columns: int, frames_per_second: float) -> npt.NDArray[np.int64]:
    """Window starts exactly as the published program computes them, dropped tail included. For parity tests.

    The column step is a double and the product is truncated, so a start can be one less than the exact one; the last
    start is `columns - 16`, whatever its frame's time. Fewer than 16 columns would give it a malformed window.

    Raises: ValueError: fewer than 16 columns.
    """
    if columns < WINDOW_COLUMNS:
        raise ValueError(f"{columns} columns are less than one window")
    columns_per_frame = COLUMNS_PER_SECOND / frames_per_second
    starts: list[int] = []
    while int(len(starts) * columns_per_frame) + WINDOW_COLUMNS <= columns:
        starts.append(int(len(starts) * columns_per_frame))
    return np.array([*starts, columns - WINDOW_COLUMNS], np.int64)
