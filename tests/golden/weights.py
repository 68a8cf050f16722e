"""Deterministic synthetic weights, made from tensor names and shapes alone (numpy only).

The goldens in this folder were computed by the official networks filled with these values, so any implementation can
be filled in the same way and compared. A value stream is PCG64, seeded with the first 8 bytes of sha256(salt + name),
as 53-bit uniforms in C order; everything is float64 until the last cast. `name` is the bare name in the module,
without nesting and `module.`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).resolve().parent
Array = npt.NDArray[Any]

# The first matching pattern gives the standard deviation as a multiple of the He scale: values that keep every
# network's activations in a range where a wrong constant shows.
GAINS: tuple[tuple[str, float], ...] = (
    (r"fc_kp\.weight$", 0.2),
    (r"fc_exp\.weight$", 0.03),
    (r"fc_t\.weight$", 0.06),
    (r"fc_scale\.weight$", 0.06),
    (r"fc_(pitch|yaw|roll)\.weight$", 1.0),
    (r"^mlp\.(6|10)\.weight$", 0.12),
    (r"dense_motion_network\.mask\.weight$", 3.0),
    (r"pwconv2\.weight$", 0.5),
    (r"mlp_(gamma|beta)\.weight$", 0.4),
    (r"resblocks_3d.*conv2\.weight$", 0.5),
    (r"^conv1_1\.weight$", 0.02),
    (r"^(fc7|conv[67]_2)_mbox_conf", 0.8),
    (r"_mbox_conf\.weight$", 2.5),
    (r"_mbox_loc\.weight$", 0.5),
)
RESIDUAL_GAIN = 0.6  # square 2-D kernels larger than 1 are often residual: damped


def uniforms(name: str, count: int, salt: str = "") -> npt.NDArray[np.float64]:
    """`count` numbers in [0, 1) that belong to `name`."""
    seed = int.from_bytes(hashlib.sha256((salt + name).encode()).digest()[:8], "big")
    raw = np.random.PCG64(seed).random_raw(count)
    return (np.asarray(raw) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def input_stream(name: str, shape: tuple[int, ...], low: float, high: float, salt: str = "") -> npt.NDArray[np.float32]:
    """A network input too large to store: uniform in [low, high)."""
    unit = uniforms(f"input/{name}", int(np.prod(shape)), salt).reshape(shape)
    return (low + (high - low) * unit).astype(np.float32)


def fill_tensor(name: str, shape: tuple[int, ...], salt: str = "") -> Array:
    """The values of one tensor.

    Raises: ValueError: `name` is a singular vector; those follow from the kernel, see `fill_state`.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith(("weight_u", "weight_v")):
        raise ValueError(f"{name} follows from its weight_orig: use fill_state")
    unit = uniforms(name, int(np.prod(shape)), salt).reshape(shape)
    spread = (2 * unit - 1) * np.sqrt(3.0)  # mean 0, variance 1, bounded
    if name.endswith("running_var"):
        values = 1 + 0.3 * unit
    elif name.endswith("running_mean"):
        values = 0.05 * spread
    elif name.endswith("_mbox_conf.bias"):
        values = 0.1 * spread + np.where(np.arange(shape[0]) == shape[0] - 1, -1.5, 1.5)
    elif name.endswith("fc_scale.bias"):
        values = 1.2 + 0.02 * spread
    elif name.endswith(("grn.gamma", "grn.beta")):
        values = 0.1 * spread
    elif name.endswith("bias"):
        values = 0.05 * spread
    elif len(shape) == 1:  # gains of norms; those of s3fd's L2 norms are larger
        values = (6.0 if name.endswith("_norm.weight") else 1.0) * (1 + 0.1 * spread)
    else:
        values = _kernel(name, shape, unit, spread)
    return values.astype(np.float32)


def _kernel(name: str, shape: tuple[int, ...], unit: Array, spread: Array) -> Array:
    """A kernel of a convolution or linear layer: He scale on the fan-in, times the gain of its name."""
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, name)), None)
    if gain is None:
        square = len(shape) == 4 and shape[0] == shape[1] and shape[2] > 1
        gain = RESIDUAL_GAIN if square and "conv_block" in name else 1.0
    if shape[1] > 8:  # centring each filter keeps deep ReLU stacks sensitive to their input
        spread = 1.2 * (spread - spread.mean(axis=tuple(range(1, len(shape))), keepdims=True))
    return spread * gain * np.sqrt(2.0 / (unit.size / shape[0]))


def fill_state(shapes: Mapping[str, tuple[int, ...]], salt: str = "") -> dict[str, Array]:
    """Values for a whole state dict, sorted by name.

    Spectral norm: `weight_u` is the top left singular vector of the kernel as a matrix, its largest entry positive;
    `weight_v` the matching right one.
    """
    state = {
        name: fill_tensor(name, tuple(shape), salt)
        for name, shape in sorted(shapes.items())
        if not name.endswith(("weight_u", "weight_v"))
    }
    for name in [name for name in state if name.endswith("weight_orig")]:
        matrix = state[name].astype(np.float64).reshape(len(state[name]), -1)
        left = np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
        left = left * np.sign(left[np.argmax(np.abs(left))])
        right = matrix.T @ left
        stem = name.removesuffix("orig")
        state[stem + "u"] = left.astype(np.float32)
        state[stem + "v"] = (right / np.linalg.norm(right)).astype(np.float32)
    return dict(sorted(state.items()))


def manifest_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one official network, by its key in `manifest.json`."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    return {name: tuple(shape) for name, shape, _ in manifest["networks"][network]["tensors"]}


def load_goldens(archive: str) -> dict[str, Array]:
    """All arrays of `<archive>.npz` in this folder."""
    with np.load(FOLDER / f"{archive}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def assert_golden(
    goldens: Mapping[str, Array],
    key: str,
    values: Array,
    *,
    rtol: float = 1e-4,
    atol_std: float = 2e-4,
    atol: float = 0.0,
) -> None:
    """Compare `values` with the golden `key`, which is stored whole or as a strided sample with the shape.

    Args:
        rtol: Allowed error relative to each value.
        atol_std: Allowed error relative to the standard deviation of the golden.
        atol: Allowed error as such.

    Raises: AssertionError: a shape or a value differs.
    """
    values = np.asarray(values)
    if key in goldens:
        expected, shape = goldens[key], goldens[key].shape
        got = values
    else:
        expected, shape = goldens[f"{key}@sub"], tuple(goldens[f"{key}@shape"])
        got = values.ravel()[:: int(goldens[f"{key}@stride"])]
    assert tuple(values.shape) == tuple(shape), f"{key}: shape {values.shape}, golden {shape}"
    reference = expected.ravel().astype(np.float64)
    error = np.abs(reference - got.ravel().astype(np.float64))
    limit = atol + atol_std * max(float(reference.std()), 1e-3) + rtol * np.abs(reference)
    assert np.isfinite(got).all(), f"{key}: not finite"
    assert (error <= limit).all(), f"{key}: error up to {error.max():.2e}, mean {error.mean():.2e}"
