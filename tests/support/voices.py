"""Synthetic speech with known sounds: a buzzing source through formant resonators."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

RATE_HZ = 16_000
VOWELS = {
    "a": (750, 1250, 2600),
    "i": (280, 2250, 3000),
    "u": (310, 800, 2300),
    "o": (450, 850, 2450),
    "e": (450, 1900, 2600),
}


def _resonate(signal: np.ndarray, formants: tuple[int, ...], widths: tuple[int, ...] = (80, 100, 140)) -> np.ndarray:
    for formant, width in zip(formants, widths, strict=True):
        radius = np.exp(-np.pi * width / RATE_HZ)
        turn = 2 * np.pi * formant / RATE_HZ
        poles = [1, -2 * radius * np.cos(turn), radius**2]
        signal = lfilter([sum(poles)], poles, signal)
    return signal


def _buzz(count: int, pitch_hz: float) -> np.ndarray:
    phase = np.cumsum(np.full(count, pitch_hz / RATE_HZ))
    pulses = np.diff(np.floor(phase), prepend=0.0)
    return lfilter([1], [1, -0.95], pulses - pulses.mean())


def vowel(name: str, seconds: float, pitch_hz: float = 120.0) -> np.ndarray:
    """A vowel with soft ends."""
    count = round(seconds * RATE_HZ)
    sound = _resonate(_buzz(count, pitch_hz), VOWELS[name])
    ramp = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.012 * RATE_HZ))
    return sound / np.abs(sound).max() * 0.5 * ramp


def nasal(seconds: float, pitch_hz: float = 120.0) -> np.ndarray:
    """An `m`: a loud murmur at 250 Hz with little above."""
    count = round(seconds * RATE_HZ)
    sound = _resonate(_buzz(count, pitch_hz), (250, 1000, 2200), (60, 300, 400))
    sound = lfilter([0.25], [1, -0.75], sound)
    return sound / np.abs(sound).max() * 0.28


def stop(seconds: float) -> np.ndarray:
    """A `p`: silence and a short low burst."""
    closed = np.zeros(round(seconds * RATE_HZ))
    burst = np.random.default_rng(3).normal(0, 1, round(0.008 * RATE_HZ))
    return np.concatenate([closed, lfilter([0.2], [1, -0.8], burst) * 0.05])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ))


def join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.float32)
