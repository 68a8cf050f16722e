"""Wav2Lip's audio front end: 16 kHz speech to a log-mel picture with 80 columns per second.

Plain numpy, because a library for it costs seconds of import on the serving path; librosa checks the filter bank in
the golden tests. The numbers are the ones the published weights were trained with. One trap: the short-time transform
must pad by *reflection*; newer audio libraries pad with zeros, which changes the first and last columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from visema_kit.errors import AudioTooShort

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 200  # 12.5 ms
COLUMNS_PER_SECOND = SAMPLE_RATE_HZ // HOP_SAMPLES  # 80
WINDOW_SAMPLES = 800  # 50 ms; also the transform's length, so bins are 20 Hz apart
MEL_BANDS = 80
LOWEST_HZ = 55.0
HIGHEST_HZ = 7600.0
PRE_EMPHASIS = 0.97
QUIETEST_AMPLITUDE = 1e-5  # -100 dB; keeps the logarithm finite
REFERENCE_DB = 20.0  # subtracted from the level
RANGE_DB = 100.0  # mapped to [-4, 4]: one unit is 12.5 dB
LIMIT = 4.0
SILENCE = -LIMIT  # value of every band of digital silence
_BLOCK_COLUMNS = 512  # 6.4 s

Floats = npt.NDArray[np.float32]


def log_mel(samples: Floats) -> Floats:
    """Log-mel picture of mono speech; the amplitude is not normalised first.

    Args: samples: float32 (n,), 16 kHz, in [-1, 1].
    Returns: float32 (80, 1 + n // 200), in [-4, 4]; column c is centred on sample 200 c.
    Raises: AudioTooShort: no samples at all.
    Source: Wav2Lip (Prajwal et al., 2020), after the Tacotron front ends.
    """
    padded = _reflected(pre_emphasis(samples))
    return np.concatenate([_mel_columns(block) for block in _magnitude_blocks(padded)], axis=1)


def _mel_columns(magnitude: Floats) -> Floats:
    """Magnitudes float32 (401, T) to columns float32 (80, T)."""
    level_db = 20 * np.log10(np.maximum(QUIETEST_AMPLITUDE, mel_basis() @ magnitude))
    scaled = 2 * LIMIT * (level_db - REFERENCE_DB + RANGE_DB) / RANGE_DB - LIMIT
    return np.asarray(np.clip(scaled, -LIMIT, LIMIT), np.float32)


def pre_emphasis(samples: Floats) -> Floats:
    """Lift the high frequencies: y[n] = x[n] - 0.97 x[n - 1], y[0] = x[0]. float32 (n,) -> float32 (n,)."""
    lifted = samples.astype(np.float32, copy=True)
    lifted[1:] -= np.float32(PRE_EMPHASIS) * samples[:-1]
    return lifted


def magnitudes(samples: Floats) -> Floats:
    """Magnitude of the short-time Fourier transform, periodic Hann window, centred frames.

    Args: samples: float32 (n,).
    Returns: float32 (401, 1 + n // 200), bins at multiples of 20 Hz.
    Raises: AudioTooShort: no samples at all.
    """
    return np.concatenate(list(_magnitude_blocks(_reflected(samples))), axis=1)


def _reflected(samples: Floats) -> Floats:
    """Half a window more on both sides. Raises: AudioTooShort: no samples at all."""
    if not len(samples):
        raise AudioTooShort("the audio has no samples")
    return np.pad(samples, WINDOW_SAMPLES // 2, mode="reflect")


def _magnitude_blocks(padded: Floats) -> Iterator[Floats]:
    """Magnitudes float32 (401, T), a block of columns at a time: those of a minute and what is between are 45 MB."""
    phase = 2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
    hann = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]  # (T, 800)
    for first in range(0, len(frames), _BLOCK_COLUMNS):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_COLUMNS] * hann, axis=1)  # (T, 401)
        yield np.abs(spectrum).T.astype(np.float32)


@lru_cache(maxsize=1)
def mel_basis() -> Floats:
    """Triangular filters on Slaney's mel scale, each of unit area: float32 (80, 401), read-only."""
    bins_hz = np.arange(WINDOW_SAMPLES // 2 + 1) * (SAMPLE_RATE_HZ / WINDOW_SAMPLES)
    ends = hz_to_mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    corners_hz = mel_to_hz(np.linspace(ends[0], ends[1], MEL_BANDS + 2))
    low, centre, high = (corners_hz[i : i + MEL_BANDS, None] for i in range(3))  # (80, 1) each
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))  # (80, 401), peak 1
    basis: Floats = (triangles * (2 / (high - low))).astype(np.float32)
    basis.flags.writeable = False  # shared by every caller
    return basis


# Slaney's scale is linear up to 1 kHz (3 mels per 200 Hz) and logarithmic above (27 mels per factor of 6.4).
KNEE_HZ = 1000.0
KNEE_MEL = 15.0
MELS_PER_HZ = 3.0 / 200.0
MELS_PER_LOG_STEP = 27.0 / float(np.log(6.4))

Doubles = npt.NDArray[np.float64]


def hz_to_mel(hz: Doubles) -> Doubles:
    """Frequencies to Slaney mels, element by element."""
    logarithmic = KNEE_MEL + MELS_PER_LOG_STEP * np.log(np.maximum(hz, KNEE_HZ) / KNEE_HZ)
    return np.where(hz < KNEE_HZ, hz * MELS_PER_HZ, logarithmic)


def mel_to_hz(mel: Doubles) -> Doubles:
    """Inverse of `hz_to_mel`."""
    exponential = KNEE_HZ * np.exp((np.maximum(mel, KNEE_MEL) - KNEE_MEL) / MELS_PER_LOG_STEP)
    return np.where(mel < KNEE_MEL, mel / MELS_PER_HZ, exponential)


HOLD_COLUMNS = 6  # 75 ms on both sides of speech stay open, so that soft onsets and releases are kept


def gate_silence(mel: Floats, below_peak_db: float) -> Floats:
    """Turn background noise between words into digital silence, so that the mouth rests there.

    A column is speech if its loudest band is within `below_peak_db` of the loud parts of this recording (95th
    percentile), or if such a column is at most `HOLD_COLUMNS` away. All other columns become -4.

    Args: mel: float32 (80, T) of the whole recording. below_peak_db: above 0; 35 to 45 suits a quiet room.
    Returns: float32 (80, T).
    """
    loudness = mel.max(axis=0)  # (T,)
    threshold = np.percentile(loudness, 95) - below_peak_db * (2 * LIMIT / RANGE_DB)
    speech = loudness > max(float(threshold), SILENCE)
    held = (
        np.convolve(speech, np.ones(2 * HOLD_COLUMNS + 1), mode="full")[HOLD_COLUMNS : HOLD_COLUMNS + len(speech)] > 0
    )
    return np.where(held, mel, np.float32(SILENCE))
