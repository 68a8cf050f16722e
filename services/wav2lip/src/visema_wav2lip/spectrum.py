"""Band energies of speech every 5 ms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.protocol import SPEECH_RATE_HZ

Series = npt.NDArray[np.float32]

HOP_SAMPLES = 80  # 5 ms: the closure of a `b` may last 40 ms
STEPS_PER_S = SPEECH_RATE_HZ // HOP_SAMPLES
_WINDOW_SAMPLES = 320  # 20 ms: two periods of a low voice
_BANDS_HZ = ((80, 400), (400, 1100), (1100, 2200), (2200, 3600), (3600, 7600))
_CENTRE_HZ = (600, 3800)  # the second formant's range
_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class BandEnergies:
    """Power per 5 ms step, float32 (T,); step t is centred on sample t * HOP_SAMPLES.

    Attributes:
        voice: 80 to 400 Hz, there even when the lips are shut. first: 400 to 1100 Hz, the first formant of open vowels.
        middle: 1100 to 2200 Hz. upper: 2200 to 3600 Hz. hiss: 3600 to 7600 Hz.
        centre_octaves: log2 of the spectral centre between 600 and 3800 Hz in Hz.
        flatness: 0 tonal to 1 noise, between 100 and 3500 Hz, of the whole recording.
    """

    voice: Series
    first: Series
    middle: Series
    upper: Series
    hiss: Series
    centre_octaves: Series
    flatness: float


def band_energies(samples: npt.NDArray[np.float32]) -> BandEnergies:
    """Analyse mono speech at 16 kHz, at least one sample; stationary background noise is taken out."""
    steps = len(samples) // HOP_SAMPLES + 1
    padded = np.pad(samples, (_WINDOW_SAMPLES // 2, _WINDOW_SAMPLES))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::HOP_SAMPLES][:steps]
    spectrum = np.fft.rfft(frames * np.hanning(_WINDOW_SAMPLES).astype(np.float32), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)  # (T, 161)
    hertz = np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / SPEECH_RATE_HZ)
    mean = power[:, (hertz >= 100) & (hertz < 3500)].mean(axis=0) + _TINY  # noqa: PLR2004 - Hz
    flatness = float(np.exp(np.mean(np.log(mean))) / np.mean(mean))
    power = _without_noise(power)

    weights = np.stack([(hertz >= low) & (hertz < high) for low, high in _BANDS_HZ], axis=1).astype(np.float32)
    bands = power @ weights + _TINY  # (T, 5)
    centre = ((hertz >= _CENTRE_HZ[0]) & (hertz < _CENTRE_HZ[1])).astype(np.float32)
    middle_hz = (power @ (centre * hertz).astype(np.float32) + 1e3 * _TINY) / (power @ centre + _TINY)
    voice, first, middle, upper, hiss = np.ascontiguousarray(bands.T)
    return BandEnergies(
        voice=voice,
        first=first,
        middle=middle,
        upper=upper,
        hiss=hiss,
        centre_octaves=np.log2(middle_hz).astype(np.float32),
        flatness=flatness,
    )


def _without_noise(power: Series) -> Series:
    """Subtract each frequency's quiet level where it lies well below its loud one; steady sounds stay."""
    order = np.sort(power[:: max(1, len(power) // 400)], axis=0)  # a few seconds tell the floor
    floor, loud = order[len(order) // 10], order[(9 * len(order)) // 10]
    floor = np.where(floor < 0.25 * loud, floor, 0)
    return np.asarray(np.maximum(power - 1.5 * floor, 0.02 * power), np.float32)
