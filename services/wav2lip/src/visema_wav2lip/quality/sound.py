"""How loud the speech is in every frame: what an opening mouth is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from visema_wav2lip.engines.protocol import SPEECH_RATE_HZ, Samples

_HOP_SAMPLES = 160  # 10 ms
_HOPS_PER_S = SPEECH_RATE_HZ // _HOP_SAMPLES
_BAND_SAMPLES = (4, 40)  # means over 1/4 ms and 2.5 ms: their difference holds 400 to 4000 Hz, what open lips let out
_BLOCK_HOPS = 1000  # 10 s
_LOUD_PERCENTILE = 97
_RANGE_DB = 30.0  # below the loud parts: a closed mouth
_UNHEARD_DB = -85.0  # of full scale: loud parts below it are no speech
_STEADY_DB, _STEADY_S = 7.0, 1.0  # a second that varies less is a hum or noise
_RELEASE_S, _ONSET_S = 0.10, 0.06  # lips close a little after the sound and open a little before it
_LEAST_LOUDNESS = 1e-3  # less is rounding
_TINY = 1e-12

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FrameSound:
    """The sound of each frame of a clip.

    Attributes:
        loudness: float64 (N,), 0 nothing to 1 as loud as this clip's loud parts.
        silent: bool (N,), nothing is heard, and lips have had the time to close.
    """

    loudness: Floats
    silent: Flags

    @property
    def speaks(self) -> Flags:
        """Whether something is heard: bool (N,)."""
        return self.loudness > 0


def frame_sound(samples: Samples, frame_rate: Fraction, frame_count: int) -> FrameSound:
    """Judge the whole speech by its own loud parts, so that quiet and loud recordings come out alike.

    Args: samples: float32 (n,), 16 kHz; frames beyond its end are silent.
    """
    level = _levels_db(samples)
    loud = float(np.percentile(level, _LOUD_PERCENTILE))
    steady = len(level) > _STEADY_S * _HOPS_PER_S and loud - float(np.percentile(level, 3)) < _STEADY_DB
    if loud < _UNHEARD_DB or steady:
        return FrameSound(np.zeros(frame_count), np.ones(frame_count, bool))
    heard = np.clip((level - (loud - _RANGE_DB)) / _RANGE_DB, 0, 1)  # (T,)
    frame_hops = float(_HOPS_PER_S / frame_rate)
    edges = np.arange(frame_count + 1) * frame_hops
    middles = (edges[:-1] + edges[1:]) / 2 - 0.5  # hop t is centred on t + 0.5
    loudness = np.interp(middles, np.arange(len(heard)), uniform_filter1d(heard, 3, mode="nearest"), right=0.0)
    loudness[(middles > len(heard)) | (loudness < _LEAST_LOUDNESS)] = 0.0
    after, before = math.ceil(_RELEASE_S * _HOPS_PER_S), math.ceil(_ONSET_S * _HOPS_PER_S)
    padded = np.concatenate([heard > 0, np.zeros(after, bool)]).astype(np.uint8)
    busy = maximum_filter1d(padded, after + before + 1, origin=(after - before) // 2, mode="constant")
    counts = np.concatenate([[0], np.cumsum(busy)])
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    busy_hops = counts[np.minimum(last, len(busy))] - counts[np.minimum(first, len(busy))]
    return FrameSound(loudness, np.asarray((busy_hops == 0) & (loudness == 0)))


def _levels_db(samples: Samples) -> Floats:
    """Level of the band that open lips let out, in dB of full scale, every 10 ms: float64 (T,), T >= 1."""
    hops = max(1, -(-len(samples) // _HOP_SAMPLES))
    power = np.zeros(hops)
    for first in range(0, hops, _BLOCK_HOPS):  # block by block: no copies of the whole
        last = min(first + _BLOCK_HOPS, hops)
        power[first:last] = _band_powers(samples, first, last)
    return np.asarray(10 * np.log10(uniform_filter1d(power, 3, mode="nearest") + _TINY))


def _band_powers(samples: Samples, first: int, last: int) -> Floats:
    """Mean power of the band in the hops `first` to `last`; there is silence around the samples."""
    short, long = _BAND_SAMPLES
    start, stop = first * _HOP_SAMPLES - long, last * _HOP_SAMPLES + long
    inside = np.nan_to_num(samples[max(start, 0) : stop], nan=0.0, posinf=0.0, neginf=0.0)
    block = np.pad(inside, (max(-start, 0), stop - max(start, 0) - len(inside)))
    band = (uniform_filter1d(block, short) - uniform_filter1d(block, long))[long:-long]
    return np.asarray(np.square(band).reshape(last - first, _HOP_SAMPLES).mean(axis=1, dtype=np.float64))
