"""Smooth random curves: sums of sinusoids that can be evaluated at any time, seamless when a period is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SPECTRAL_SLOPE = 2.6  # fall-off of head sway above its corner frequency
ENDLESS_TONE_COUNT = 40
ENDLESS_LOWEST = 0.4  # of the corner, about one sway in 10 s as in a loop: what is slower holds the head aside for long
NORMALISING_SPAN_S = 120.0  # an endless curve is scaled by its peak over this span
NORMALISING_RATE_HZ = 5.0  # above twice the highest content


@dataclass(frozen=True, slots=True)
class SmoothNoise:
    """A random curve with peak 1 and no content above `highest_hz`.

    Attributes:
        frequencies_hz: float64 (K,).
        cosines: float64 (K,), weights of the cosine terms.
        sines: float64 (K,), weights of the sine terms.
    """

    frequencies_hz: FloatArray
    cosines: FloatArray
    sines: FloatArray

    def at(self, time_s: FloatArray) -> FloatArray:
        """Values at any times: float64 of the same shape, nearly always within [-1, 1]."""
        phase = 2.0 * np.pi * time_s[..., None] * self.frequencies_hz  # (..., K)
        # A matrix product would sum in an order that depends on how many times are asked for at once.
        return np.asarray((np.cos(phase) * self.cosines + np.sin(phase) * self.sines).sum(axis=-1))


def draw_noise(
    generator: np.random.Generator, corner_hz: float, highest_hz: float, period_s: float | None
) -> SmoothNoise:
    """Draw a curve whose power falls off above `corner_hz`.

    Args:
        generator: Source of randomness; consumed.
        corner_hz: Where the spectrum begins to fall.
        highest_hz: Where it is cut.
        period_s: Only harmonics of this period are used, so the curve closes; None draws free frequencies.
    """
    if period_s is None:
        steps = np.linspace(0.0, 1.0, ENDLESS_TONE_COUNT + 1)
        places = steps[:-1] + generator.uniform(0.0, 1.0, ENDLESS_TONE_COUNT) / ENDLESS_TONE_COUNT
        lowest_hz = ENDLESS_LOWEST * corner_hz
        frequencies = lowest_hz + places * (highest_hz - lowest_hz)
        span_s = NORMALISING_SPAN_S
    else:
        frequencies = np.arange(1, max(2, int(highest_hz * period_s)) + 1) / period_s
        span_s = period_s
    envelope = 1.0 / (1.0 + (frequencies / corner_hz) ** SPECTRAL_SLOPE)
    noise = SmoothNoise(
        frequencies,
        generator.normal(size=frequencies.size) * envelope,
        generator.normal(size=frequencies.size) * envelope,
    )
    grid = np.arange(0.0, span_s, 1.0 / NORMALISING_RATE_HZ)
    peak = float(np.abs(noise.at(grid)).max())
    return SmoothNoise(frequencies, noise.cosines / peak, noise.sines / peak)
