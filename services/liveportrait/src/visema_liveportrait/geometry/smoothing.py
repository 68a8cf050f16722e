"""Smoothing over time: a Kalman filter forwards and its Rauch-Tung-Striebel pass backwards."""

from __future__ import annotations

import numpy as np

from visema_liveportrait.geometry import AnyFloatArray, FloatArray

PROCESS_VARIANCE = 1e-5  # of the random walk from one frame to the next
OBSERVATION_VARIANCE = 3e-7
PRIOR_VARIANCE = 1.0


def smooth(observations: AnyFloatArray, observation_variance: float = OBSERVATION_VARIANCE) -> FloatArray:
    """Every coordinate smoothed on its own as a random walk seen through noise.

    Args:
        observations: (N, ...), N frames.
        observation_variance: Larger is smoother.

    Returns: (N, ...), float32.
    """
    count = len(observations)
    observed = observations.reshape(count, -1).astype(np.float64)
    means = np.empty_like(observed)
    variances = np.empty(count)
    predicted_mean, predicted_variance = observed[0], PRIOR_VARIANCE
    for index in range(count):
        gain = predicted_variance / (predicted_variance + observation_variance)
        means[index] = predicted_mean + gain * (observed[index] - predicted_mean)
        variances[index] = (1 - gain) * predicted_variance
        predicted_mean, predicted_variance = means[index], variances[index] + PROCESS_VARIANCE
    for index in range(count - 2, -1, -1):
        gain = variances[index] / (variances[index] + PROCESS_VARIANCE)
        means[index] += gain * (means[index + 1] - means[index])
    return means.reshape(observations.shape).astype(np.float32)
