"""What a listener hears of the rhythm of speech: accents and pauses, from the samples alone, in any language.

A syllable's nucleus is a crest of the level between 300 and 3000 Hz with a dip on either side. It is accented when it
is louder and longer than the syllables around it. Everything is judged against this recording's own range, so quiet,
loud and noisy ones give alike cues.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from visema_media.audio import ANALYSIS_RATE_HZ, Samples

Series = npt.NDArray[np.float64]

HOP_SAMPLES = 160  # 10 ms
STEPS_PER_S = ANALYSIS_RATE_HZ // HOP_SAMPLES
_WINDOW_SAMPLES = 400  # 25 ms: two periods of the lowest voice
_BLOCK_STEPS = 1024  # spectra of 10 s at a time: memory does not grow with the speech
_WINDOW = np.hanning(_WINDOW_SAMPLES).astype(np.float32)
_SONORANT_HZ, _AUDIBLE_HZ = (300.0, 3000.0), (80.0, 8000.0)
_TINY = 1e-10  # of power, -100 dB

_SILENT_PEAK = 1e-4  # -80 dB of full scale: below the noise of any microphone
_STEADY_DB = 7.0  # a recording that varies less is one steady sound
_FLOOR_PERCENT, _PEAK_PERCENT = 5, 95
_LOWEST_DB = 50.0  # below the peak: what is further down is as good as silent
_GATE = 0.4  # of the range between floor and peak
_DIP_DB = 2.0  # on both sides of a nucleus
_NUCLEUS_DB = 18.0  # below the peak at most
_NUCLEUS_SMOOTH_S, _GATE_SMOOTH_S = 0.025, 0.015
_NUCLEUS_WIDTH_DB = 5.0  # a nucleus is as long as the level stays so near to its crest
SHORTEST_PAUSE_S = 0.25
_SHORTEST_BURST_S = 0.05  # a click in a pause is no speech
_NEIGHBOURHOOD_S = 1.5
_LEVEL_UNIT_DB, _LENGTH_UNIT_OCTAVES = 3.5, 1.0  # what makes an accent, each alone


@dataclass(frozen=True, slots=True)
class Nucleus:
    """The loudest part of a syllable.

    Attributes:
        time_s: Its middle.
        prominence: How much it stands out from the syllables around it: 0 like them, 1 clearly accented,
            up to about 3.
    """

    time_s: float
    prominence: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence of at least `SHORTEST_PAUSE_S` after speech; ends where speech or the recording goes on or ends."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SpeechCues:
    """Rhythm of one recording, in the order of time."""

    nuclei: tuple[Nucleus, ...] = ()
    pauses: tuple[Pause, ...] = ()


def read_cues(samples: Samples) -> SpeechCues:
    """Listen to mono speech at 16 kHz, float32 (n,); silence and steady noise have no cues."""
    speech = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    loudest = max(float(np.max(speech, initial=0.0)), -float(np.min(speech, initial=0.0)))
    if len(speech) < _WINDOW_SAMPLES or loudest < _SILENT_PEAK:
        return SpeechCues()
    speech /= np.float32(loudest)
    sonorant, audible = _levels_db(speech)
    floor, peak = np.percentile(audible, [_FLOOR_PERCENT, _PEAK_PERCENT])
    if peak - floor < _STEADY_DB:
        return SpeechCues()
    floor = max(floor, peak - _LOWEST_DB)
    gate = gaussian_filter1d(audible, _GATE_SMOOTH_S * STEPS_PER_S) > floor + _GATE * (peak - floor)
    spans = list(_phrases(gate))
    ends = [stop for _, stop in spans]
    goes_on = [*(start for start, _ in spans[1:]), len(gate)]
    pauses = tuple(
        Pause(_time_s(end), _time_s(start))
        for end, start in zip(ends, goes_on, strict=True)
        if start - end >= SHORTEST_PAUSE_S * STEPS_PER_S
    )
    return SpeechCues(tuple(_nuclei(sonorant, gate)), pauses)


def _levels_db(speech: Samples) -> tuple[Series, Series]:
    """Level of what is sonorant and of all that is audible, per step of 10 ms: two float64 (T,)."""
    steps = (len(speech) - _WINDOW_SAMPLES) // HOP_SAMPLES + 1
    windows = np.lib.stride_tricks.sliding_window_view(speech, _WINDOW_SAMPLES)[::HOP_SAMPLES]  # (T, window), a view
    hertz = np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / ANALYSIS_RATE_HZ)
    weights = np.stack([(hertz >= low) & (hertz < high) for low, high in (_SONORANT_HZ, _AUDIBLE_HZ)], axis=1).astype(
        np.float32
    )  # (bins, 2)
    power = np.empty((steps, 2))
    for start in range(0, steps, _BLOCK_STEPS):
        block = slice(start, min(start + _BLOCK_STEPS, steps))
        power[block] = (np.abs(np.fft.rfft(windows[block] * _WINDOW)) ** 2) @ weights
    sonorant, audible = 10.0 * np.log10(power + _TINY).T
    return sonorant, audible


def _phrases(gate: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Spans of speech between pauses: first step and the one after the last."""
    edges = np.flatnonzero(np.diff(np.r_[False, gate, False].astype(np.int8)))
    begin, end = None, 0
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < _SHORTEST_BURST_S * STEPS_PER_S:
            continue
        if begin is not None and start - end >= SHORTEST_PAUSE_S * STEPS_PER_S:
            yield begin, end
            begin = None
        begin = int(start) if begin is None else begin
        end = int(stop)
    if begin is not None:
        yield begin, end


def _nuclei(sonorant: Series, gate: npt.NDArray[np.bool_]) -> list[Nucleus]:
    """Crests of the level with their prominence."""
    level = gaussian_filter1d(sonorant, _NUCLEUS_SMOOTH_S * STEPS_PER_S)
    lowest = np.percentile(level, _PEAK_PERCENT) - _NUCLEUS_DB
    spans = [_near_crest(level, *crest) for crest in _crests(level) if level[crest[1]] > lowest and gate[crest[1]]]
    times = np.array([_time_s((start + stop - 1) / 2) for start, stop in spans])
    loud = np.array([level[start:stop].max() for start, stop in spans])
    octaves = np.log2([stop - start for start, stop in spans])
    found = []
    for number, time_s in enumerate(times):
        near = np.abs(times - time_s) <= _NEIGHBOURHOOD_S
        near[number] = False
        if not near.any():
            found.append(Nucleus(float(time_s), 1.0))  # a word on its own
            continue
        louder = (loud[number] - loud[near].mean()) / _LEVEL_UNIT_DB
        longer = (octaves[number] - octaves[near].mean()) / _LENGTH_UNIT_OCTAVES
        found.append(Nucleus(float(time_s), max(float(louder + longer), 0.0)))
    return found


def _crests(level: Series) -> Iterator[tuple[int, int, int]]:
    """Where the level is highest between two dips: step of the dip before, of the crest, of the dip after."""
    before, crest, dip = 0, 0, 0
    for step, value in enumerate(level):
        if value > level[dip] + _DIP_DB and dip > crest:
            yield before, crest, dip
            before, crest, dip = dip, step, step
        if value > level[crest] and level[dip] > level[crest] - _DIP_DB:
            crest = dip = step
        elif value < level[dip] and value < level[crest] - _DIP_DB:
            dip = step
    if dip > crest:
        yield before, crest, dip


def _near_crest(level: Series, before: int, crest: int, after: int) -> tuple[int, int]:
    """Steps between two dips during which the level stays near to its crest: first and the one after the last."""
    below = np.flatnonzero(level[before : after + 1] < level[crest] - _NUCLEUS_WIDTH_DB) + before
    split = int(np.searchsorted(below, crest))
    start = int(below[split - 1]) + 1 if split > 0 else before
    stop = int(below[split]) if split < len(below) else after
    return start, stop


def _time_s(step: float) -> float:
    """Middle of a step's window."""
    return (step * HOP_SAMPLES + _WINDOW_SAMPLES / 2) / ANALYSIS_RATE_HZ
