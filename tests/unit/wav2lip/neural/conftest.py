"""Networks filled with the goldens' synthetic weights, and the goldens themselves."""

from __future__ import annotations

import importlib.util

import pytest
from golden import weights


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tests run beside each other; threads of one that wait for a core slow all of them."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def goldens():
    """Every array of `tests/golden/w2l.npz`."""
    return weights.load_goldens("w2l")


@pytest.fixture(scope="session")
def generator():
    """The generator with synthetic weights, float32; tests must not change it."""
    return filled("wav2lip")


def filled(network: str, salt: str = ""):
    """One official network (`wav2lip`, `syncnet`, `s3fd`) with synthetic weights, loaded strictly."""
    import torch
    from visema_wav2lip import model

    built = {"wav2lip": model.Wav2Lip, "syncnet": model.SyncNet, "s3fd": model.S3FD}[network]()
    state = weights.fill_state(weights.manifest_shapes(network), salt)
    built.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()}, strict=True)
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def make_network():
    """`filled`, for tests that need another network or another salt."""
    return filled
