"""Networks filled with the golden recipe's weights, built once per session, and the goldens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the neural engine needs torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "golden"))

import weights  # noqa: E402 - the recipe in tests/golden
from support.official_weights import write_official_file  # noqa: E402
from visema_kit.checkpoints import LIVEPORTRAIT  # noqa: E402
from visema_kit.checkpoints_store import CheckpointFolder, file_sha256  # noqa: E402
from visema_liveportrait import model  # noqa: E402

CLASSES = {
    "appearance_feature_extractor": model.AppearanceFeatureExtractor,
    "motion_extractor": model.MotionExtractor,
    "warping_module": model.WarpingNetwork,
    "spade_generator": model.SPADEDecoder,
    "stitching": model.StitchingNetwork,
    "eye": model.EyeRetargetingNetwork,
    "lip": model.LipRetargetingNetwork,
}
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def network() -> Callable[[str], Any]:
    """A network by its key in the manifest, with the default salt, in evaluation mode; do not change it."""
    built: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in built:
            built[name] = filled(name)
        return built[name]

    return get


def filled(name: str, salt: str = "") -> Any:
    """A network of its own with synthetic weights, in evaluation mode."""
    net = CLASSES[name]().eval().requires_grad_(requires_grad=False)
    state = weights.fill_state(weights.manifest_shapes(name), salt)
    net.load_state_dict({key: torch.from_numpy(values) for key, values in state.items()}, strict=True)
    return net


@pytest.fixture(scope="session")
def make_network() -> Callable[[str, str], Any]:
    """`filled`, for tests that need another salt."""
    return filled


@pytest.fixture(scope="session")
def nets_golden() -> dict[str, Any]:
    return weights.load_goldens("lp_nets")


@pytest.fixture(scope="session")
def math_golden() -> dict[str, Any]:
    return weights.load_goldens("lp_math")


@pytest.fixture(scope="session")
def chain_golden() -> dict[str, Any]:
    return weights.load_goldens("lp_chain")


@pytest.fixture(scope="session")
def network_inputs(nets_golden: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Inputs that the goldens were made from, by network."""

    def tensor(key: str) -> Any:
        return torch.from_numpy(np.asarray(nets_golden[key], np.float32))

    pictures = torch.from_numpy(nets_golden["images_u8"].astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()
    root3 = np.sqrt(3)
    volume = torch.from_numpy(weights.input_stream("W/feature_3d", (1, 32, 16, 64, 64), -root3, root3))
    feature = torch.from_numpy(weights.input_stream("G/feature", (1, 256, 64, 64), -1.2, 1.2))
    return {
        "appearance_feature_extractor": (pictures[:1],),
        "motion_extractor": (pictures,),
        "warping_module": (volume, tensor("W.in.kp_driving"), tensor("W.in.kp_source")),
        "spade_generator": (feature,),
        "stitching": (tensor("stitching.in"),),
        "eye": (tensor("eye.in"),),
        "lip": (tensor("lip.in"),),
    }


@pytest.fixture(scope="session")
def checkpoint_folder(network: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Synthetic weights written as the official files (nested, prefixed) and imported like real ones."""
    published, imported = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("imported")
    folder = CheckpointFolder(imported)
    for file in LIVEPORTRAIT.files:
        path = write_official_file(published, file, lambda name: network(name).state_dict())
        folder.import_file(path, file, vouched_sha256=file_sha256(path))
        path.unlink()
    yield imported
    for path in imported.rglob("*.safetensors"):
        path.unlink()
