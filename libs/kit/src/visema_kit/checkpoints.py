"""Which weights the neural engines use, where they come from, and what is inside.

Every file is pinned by repository, revision, size and sha256. `checkpoints_store` imports and loads them,
`checkpoints_download` fetches them, `visema models` is the command line over both.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

from visema_kit.errors import CheckpointMissing, LicenseNotAccepted

ACCEPT_VARIABLE = "VISEMA_ACCEPT_LICENSES"
FOLDER_VARIABLE = "VISEMA_CHECKPOINT_DIR"


@dataclass(frozen=True, slots=True)
class NetworkPart:
    """One network's weights inside a file.

    Attributes:
        network: Our name, e.g. `liveportrait/stitching`; the key of its layout.
        nesting: Keys to descend in the file before the tensors come.
    """

    network: str
    nesting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A published file.

    Attributes:
        name: Relative path in a checkpoint folder and on a mirror.
        url: Where it is published.
        size_bytes: 0 where it was never recorded; the hash decides then.
        sha256: Of the whole file.
        parts: The networks in it.
        optional: Engines run without it.
    """

    name: str
    url: str
    size_bytes: int
    sha256: str
    parts: tuple[NetworkPart, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All files of one model.

    Attributes:
        name: As in `visema models pull NAME`.
        license_name: For people, SPDX where there is one.
        accept_name: What `VISEMA_ACCEPT_LICENSES` must name before the weights are fetched or loaded; empty if nothing.
    """

    name: str
    license_name: str
    accept_name: str
    files: tuple[CheckpointFile, ...]


_LIVEPORTRAIT_URL = (
    "https://huggingface.co/KlingTeam/LivePortrait/resolve/82a4fa6735ca58432b6ce39301b4b9ee066dea47/liveportrait/"
)


def _liveportrait(path: str, size_bytes: int, sha256: str, *parts: NetworkPart) -> CheckpointFile:
    return CheckpointFile(f"liveportrait/{path}", _LIVEPORTRAIT_URL + path, size_bytes, sha256, parts)


LIVEPORTRAIT = ModelWeights(
    "liveportrait",
    "MIT",
    "",
    (
        _liveportrait(
            "base_models/appearance_feature_extractor.pth",
            3_387_959,
            "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5",
            NetworkPart("liveportrait/appearance"),
        ),
        _liveportrait(
            "base_models/motion_extractor.pth",
            112_545_506,
            "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5",
            NetworkPart("liveportrait/motion"),
        ),
        _liveportrait(
            "base_models/warping_module.pth",
            182_180_086,
            "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282",
            NetworkPart("liveportrait/warping"),
        ),
        _liveportrait(
            "base_models/spade_generator.pth",
            221_813_590,
            "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee",
            NetworkPart("liveportrait/decoder"),
        ),
        _liveportrait(
            "retargeting_models/stitching_retargeting_module.pth",
            2_393_098,
            "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611",
            NetworkPart("liveportrait/stitching", ("retarget_shoulder",)),
            NetworkPart("liveportrait/lips", ("retarget_mouth",)),
            NetworkPart("liveportrait/eyes", ("retarget_eye",)),
        ),
    ),
)
WAV2LIP = ModelWeights(
    "wav2lip",
    "LicenseRef-wav2lip-noncommercial",
    "wav2lip-noncommercial",
    (
        CheckpointFile(
            "wav2lip/wav2lip_gan.pth",
            "https://huggingface.co/camenduru/Wav2Lip/resolve/main/checkpoints/wav2lip_gan.pth",
            0,
            "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
            (NetworkPart("wav2lip/generator", ("state_dict",)),),
        ),
    ),
)
# The same network trained without the picture critic: softer teeth, slightly closer lips.
WAV2LIP_PLAIN = ModelWeights(
    "wav2lip-plain",
    WAV2LIP.license_name,
    WAV2LIP.accept_name,
    (
        CheckpointFile(
            "wav2lip/wav2lip.pth",
            "https://huggingface.co/rippertnt/wav2lip/resolve/main/wav2lip.pth",
            435_807_851,
            "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
            (NetworkPart("wav2lip/generator", ("state_dict",)),),
        ),
    ),
)
MODELS = (LIVEPORTRAIT, WAV2LIP, WAV2LIP_PLAIN)


def model_named(name: str) -> ModelWeights:
    """The model called `name`. Raises: CheckpointMissing: there is none."""
    for model in MODELS:
        if model.name == name:
            return model
    raise CheckpointMissing(f"There is no model {name!r}; there are {', '.join(model.name for model in MODELS)}.")


def check_license(model: ModelWeights, accepted: frozenset[str]) -> None:
    """Raises: LicenseNotAccepted: the model's licence must be accepted first and was not."""
    if model.accept_name and model.accept_name not in accepted:
        raise LicenseNotAccepted(
            f"The weights of {model.name} may be used for non-commercial purposes only. "
            f"Set {ACCEPT_VARIABLE}={model.accept_name} to accept that.",
            metadata={"license": model.accept_name},
        )


@functools.cache
def layout_of(network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors. Raises: KeyError: no such network."""
    text = resources.files("visema_kit").joinpath("checkpoints_layouts.json").read_text(encoding="utf-8")
    return {name: tuple(shape) for name, shape in json.loads(text)[network].items()}
