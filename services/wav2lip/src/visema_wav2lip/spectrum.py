"""Band energies of speech every 5 ms, and its mel spectrogram every 10 ms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.protocol import SPEECH_RATE_HZ

Series = npt.NDArray[np.float32]

HOP_SAMPLES = 80  # 5 ms: the closure of a `b` may last 40 ms
STEPS_PER_S = SPEECH_RATE_HZ // HOP_SAMPLES
_WINDOW_SAMPLES = 320  # 20 ms: two periods of a low voice
_BANDS_HZ = ((80, 400), (400, 1100), (1100, 2200), (2200, 3600), (3600, 7600))
_TINY = 1e-10
_BLOCK_STEPS = 1024  # 5 s
_NOISE_STEPS = 400  # a few seconds tell the noise
_WINDOW = np.hanning(_WINDOW_SAMPLES).astype(np.float32)
_MEL_HOP_SAMPLES = 160
MEL_STEPS_PER_S = SPEECH_RATE_HZ // _MEL_HOP_SAMPLES
_MEL_BANDS, _MEL_RANGE_HZ = 32, (60, 7600)


@dataclass(frozen=True, slots=True)
class BandEnergies:
    """Power per 5 ms step, float32 (T,); step t is centred on sample t * HOP_SAMPLES.

    Attributes:
        voice: 80 to 400 Hz, there even when the lips are shut. first: 400 to 1100 Hz, the first formant of open vowels.
        middle: 1100 to 2200 Hz. upper: 2200 to 3600 Hz. hiss: 3600 to 7600 Hz.
        flatness: 0 tonal to 1 noise, between 100 and 3500 Hz, of the whole recording.
    """

    voice: Series
    first: Series
    middle: Series
    upper: Series
    hiss: Series
    flatness: float


def band_energies(samples: npt.NDArray[np.float32]) -> BandEnergies:
    """Analyse mono speech at 16 kHz, at least one sample; stationary background noise is taken out.

    The spectra of a minute are 8 MB and their transforms several times that, so they are made in blocks, and made again
    where the noise is known: a block costs less than its memory.
    """
    steps = len(samples) // HOP_SAMPLES + 1
    every = max(1, steps // _NOISE_STEPS)
    total = np.zeros(_WINDOW_SAMPLES // 2 + 1)
    some: list[Series] = []
    blocks = [slice(start, min(start + _BLOCK_STEPS, steps)) for start in range(0, steps, _BLOCK_STEPS)]
    for block in blocks:
        power = _power(samples, block.start, block.stop)
        total += power.sum(axis=0, dtype=np.float64)
        some.append(power[-block.start % every :: every])
    hertz = np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / SPEECH_RATE_HZ)
    tonal = (hertz >= 100) & (hertz < 3500)  # noqa: PLR2004 - Hz
    mean = total[tonal] / steps + _TINY
    noise = _noise(np.concatenate(some))

    bands = np.empty((len(_BANDS_HZ), steps), np.float32)
    weights = np.stack([(hertz >= low) & (hertz < high) for low, high in _BANDS_HZ], axis=1).astype(np.float32)
    for block in blocks:
        power = _power(samples, block.start, block.stop)
        power = np.maximum(power - noise, 0.02 * power)
        bands[:, block] = (power @ weights + _TINY).T  # (5, T)
    voice, first, middle, upper, hiss = bands
    return BandEnergies(
        voice=voice,
        first=first,
        middle=middle,
        upper=upper,
        hiss=hiss,
        flatness=float(np.exp(np.mean(np.log(mean))) / np.mean(mean)),
    )


def mel_power(samples: npt.NDArray[np.float32]) -> Series:
    """Mel spectrogram, linear power: float32 (T, 32); step t is centred on sample t * 160. Args: samples: 16 kHz."""
    steps = len(samples) // _MEL_HOP_SAMPLES + 1
    mel = np.empty((steps, _MEL_BANDS), np.float32)
    for start in range(0, steps, _BLOCK_STEPS):
        end = min(start + _BLOCK_STEPS, steps)
        mel[start:end] = _power(samples, start, end, _MEL_HOP_SAMPLES) @ _mel_weights()
    return mel


@cache
def _mel_weights() -> Series:
    """Triangles of equal width in mel, each of weight 1: float32 (161, 32)."""
    mels = 1127 * np.log1p(np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / SPEECH_RATE_HZ) / 700)
    lowest, highest = (1127 * np.log1p(hertz / 700) for hertz in _MEL_RANGE_HZ)
    edges = np.linspace(lowest, highest, _MEL_BANDS + 2)
    rising = (mels[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    for band in np.flatnonzero(weights.sum(axis=0) == 0):  # narrower than the spectrum's steps
        weights[np.argmin(np.abs(mels - edges[band + 1])), band] = 1
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def _power(samples: npt.NDArray[np.float32], first: int, end: int, hop: int = HOP_SAMPLES) -> Series:
    """Power spectra of the steps from `first` to before `end`: float32 (T, 161)."""
    start = first * hop - _WINDOW_SAMPLES // 2
    stop = (end - 1) * hop + _WINDOW_SAMPLES // 2
    heard = samples[max(start, 0) : stop]
    before = max(-start, 0)
    padded = np.pad(heard, (before, stop - start - before - len(heard)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::hop]
    spectrum = np.fft.rfft(frames * _WINDOW, axis=1)
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)


def _noise(some: Series) -> Series:
    """What stationary noise adds to each frequency: its quiet level where that lies well below its loud one.

    Steady sounds stay. Args: some: float32 (T, 161), a few steps of the whole recording.
    """
    order = np.sort(some, axis=0)
    floor, loud = order[len(order) // 10], order[(9 * len(order)) // 10]
    return np.asarray(1.5 * np.where(floor < 0.25 * loud, floor, 0), np.float32)
