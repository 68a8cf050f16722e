"""Band energies: computed in blocks, as if at once, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from visema_wav2lip import mel, spectrum
from visema_wav2lip.visemes import plan_mouth

RATE_HZ = 16_000
STEPS_IN_A_BLOCK = 1024
MINUTE = 60 * RATE_HZ


def murmur(sample_count: int) -> np.ndarray:
    """Noise whose loudness and colour change, over a steady hum: float32 (n,)."""
    rng = np.random.default_rng(3)
    at = np.arange(sample_count) / RATE_HZ
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * at)
    return (0.2 * loud * rng.standard_normal(sample_count) + 0.02 * np.sin(2 * np.pi * 1500 * at)).astype(np.float32)


def at_once(samples: np.ndarray) -> dict[str, np.ndarray]:
    """The same analysis with all spectra in memory."""
    steps = len(samples) // 80 + 1
    padded = np.pad(samples.astype(np.float64), (160, 320))
    frames = np.stack([padded[80 * step : 80 * step + 320] for step in range(steps)])
    power = np.abs(np.fft.rfft(frames * np.hanning(320), axis=1)) ** 2
    order = np.sort(power[:: max(1, steps // 400)], axis=0)
    floor, loud = order[len(order) // 10], order[9 * len(order) // 10]
    power = np.maximum(power - 1.5 * np.where(floor < 0.25 * loud, floor, 0), 0.02 * power)
    hertz = np.fft.rfftfreq(320, 1 / RATE_HZ)
    borders = {
        "voice": (80, 400),
        "first": (400, 1100),
        "middle": (1100, 2200),
        "upper": (2200, 3600),
        "hiss": (3600, 7600),
    }
    return {name: power[:, (hertz >= low) & (hertz < high)].sum(axis=1) for name, (low, high) in borders.items()}


@pytest.mark.parametrize("steps", [1, 5, STEPS_IN_A_BLOCK - 1, STEPS_IN_A_BLOCK, STEPS_IN_A_BLOCK + 1, 2500])
def test_blocks_give_what_the_whole_gives(steps: int) -> None:
    samples = murmur(80 * (steps - 1) + 33)
    bands = spectrum.band_energies(samples)
    for name, expected in at_once(samples).items():
        assert getattr(bands, name) == pytest.approx(expected, rel=1e-3, abs=1e-6), name


def test_the_analysis_of_a_minute_takes_little_more_memory_than_its_samples() -> None:
    """Whole spectra would be 60 MB, the whole mel transform 45 MB."""
    samples = murmur(MINUTE)
    budget = 3 * samples.nbytes + (12 << 20)
    for analyse in (lambda: plan_mouth(samples, 25, 1500), lambda: mel.log_mel(samples)):
        tracemalloc.start()
        try:
            analyse()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < budget
