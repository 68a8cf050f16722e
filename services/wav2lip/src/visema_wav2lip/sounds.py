"""Which kind of sound is spoken when: a small convolutional network of our own, in numpy, for any language.

It hears a mel spectrogram and tells kinds of sounds apart by how they look on a mouth, not by what they mean. Its
weights, `sounds.npz`, come from `tools/sound_training.py`; ADR 7 says what it learnt from and how well it hears people.
"""

from __future__ import annotations

import enum
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from visema_wav2lip.spectrum import MEL_STEPS_PER_S, Series, mel_power

DILATIONS: Final = (1, 2, 4, 8, 1, 2, 4)  # hears 0.24 s to both sides
_LEVEL_WINDOW_S, _LEVEL_PERCENTILE = 4, 95
_QUIETEST = 1.2  # log10 below the whole recording's level: silence is not turned up
_TINY = 1e-10
_LEVEL_SCALE, _LEVEL_OFFSET, _LEVEL_RANGE = 1.5, 2.0, (-1.6667, 2.5)


class Sound(enum.IntEnum):
    """Kinds of sounds by their look; the order is that of the network's outputs."""

    SILENCE = 0
    LABIAL = 1  # p b m: lips shut
    LIP_TEETH = 2  # f v: lower lip at the upper teeth
    SIBILANT = 3  # s z ʃ ʒ: teeth together
    CONSONANT = 4  # all others
    A = 5
    E = 6
    I = 7  # noqa: E741 - the vowel; with the glide j
    O = 8  # noqa: E741 - the vowel
    U = 9  # with the glide w
    Y = 10  # y ø œ: front and rounded


def hear_sounds(samples: Series) -> Series:
    """Likelihood of each kind of sound, `MEL_STEPS_PER_S` a second: float32 (T, 11), rows sum to 1.

    Args:
        samples: float32 (n,), mono at 16 kHz, finite, any level.
    """
    weights = _weights()
    hidden = _convolved(levels(mel_power(samples)), weights["input.weight"], 1) + weights["input.bias"]
    for block, dilation in enumerate(DILATIONS):
        inner = _convolved(hidden, weights[f"{block}.first.weight"], dilation) + weights[f"{block}.first.bias"]
        np.maximum(inner, 0, out=inner)
        hidden += inner @ weights[f"{block}.second.weight"] + weights[f"{block}.second.bias"]
    hidden = np.maximum(hidden * weights["output.scale"] + weights["output.shift"], 0)
    scores = hidden @ weights["output.weight"] + weights["output.bias"]
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float32)


@cache
def _weights() -> dict[str, Series]:
    with (
        resources.as_file(resources.files(__package__) / "sounds.npz") as path,
        np.load(path, allow_pickle=False) as stored,
    ):
        return {name: stored[name].astype(np.float32) for name in stored.files}


def levels(power: Series) -> Series:
    """Mel powers (T, B) in decades below the loud parts nearby, as the network was trained to hear them."""
    scaled = power / (power.mean() + _TINY)
    total = np.log10(scaled.sum(axis=1) + _TINY)
    window = _LEVEL_WINDOW_S * MEL_STEPS_PER_S
    starts = np.arange(0, max(len(total) - window, 0) + 1, MEL_STEPS_PER_S)
    local = [float(np.percentile(total[start : start + window], _LEVEL_PERCENTILE)) for start in starts]
    reference = np.interp(np.arange(len(total)), starts + window / 2, local)
    reference = np.maximum(reference, np.percentile(total, _LEVEL_PERCENTILE) - _QUIETEST)
    levels = (np.log10(scaled + _TINY) - reference[:, None]) / _LEVEL_SCALE + _LEVEL_OFFSET
    return np.asarray(np.clip(levels, *_LEVEL_RANGE), np.float32)


def _convolved(series: Series, kernel: npt.NDArray[np.float32], dilation: int) -> Series:
    """Convolution over time with zeros beyond the ends. Args: series: (T, in). kernel: (taps, in, out)."""
    taps = len(kernel)
    reach = taps // 2 * dilation
    padded = np.pad(series, ((reach, reach), (0, 0)))
    result: Series = padded[: len(series)] @ kernel[0]
    for tap in range(1, taps):
        result += padded[tap * dilation : tap * dilation + len(series)] @ kernel[tap]
    return result
