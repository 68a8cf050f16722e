"""The generator with the weights of a checkpoint folder."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
from visema_kit.errors import CheckpointMissing

from visema_wav2lip.model.wav2lip import Wav2Lip

# Files that serve, best first, and their sha256: the one trained with a picture critic gives sharper teeth.
CHECKPOINTS = {
    "wav2lip_gan.pth": "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
    "wav2lip.pth": "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
}


def load_generator(folder: Path | None) -> tuple[Wav2Lip, str]:
    """The generator, and the sha256 of the file that its weights came from.

    Raises: CheckpointMissing: no such file, or one with other bytes or tensors.
    """
    if folder is None:
        raise CheckpointMissing("VISEMA_CHECKPOINT_DIR is not set: there are no Wav2Lip weights.")
    path = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointMissing(f"The checkpoint folder holds none of {', '.join(CHECKPOINTS)}.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != CHECKPOINTS[path.name]:
        raise CheckpointMissing(f"{path.name} is not the published file: its sha256 is {sha256}.")
    network = Wav2Lip().eval()
    try:
        # Never without weights_only: a pickle runs any code that it holds.
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({name.removeprefix("module."): t for name, t in stored["state_dict"].items()})
    except (pickle.UnpicklingError, KeyError, RuntimeError) as error:
        raise CheckpointMissing(f"{path.name} does not hold the generator's weights.") from error
    return network, sha256
