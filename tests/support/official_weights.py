"""Synthetic weights as the files in which the official ones are published. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from golden import weights
from visema_kit.checkpoints import CheckpointFile

# Our names of the networks to those of the goldens' recipe.
RECIPES = {
    "liveportrait/appearance": "appearance_feature_extractor",
    "liveportrait/motion": "motion_extractor",
    "liveportrait/warping": "warping_module",
    "liveportrait/decoder": "spade_generator",
    "liveportrait/stitching": "stitching",
    "liveportrait/lips": "lip",
    "liveportrait/eyes": "eye",
    "wav2lip/generator": "wav2lip",
    "wav2lip/syncnet": "syncnet",
    "wav2lip/s3fd": "s3fd",
}


def synthetic_state(recipe: str, salt: str = "") -> dict[str, torch.Tensor]:
    """The recipe's values for one network, by its key in the goldens' manifest."""
    state = weights.fill_state(weights.manifest_shapes(recipe), salt)
    return {name: torch.from_numpy(values) for name, values in state.items()}


def write_official_file(
    folder: Path,
    file: CheckpointFile,
    state_of: Callable[[str], Mapping[str, Any]] = synthetic_state,
) -> Path:
    """Write `file` as it is published: one bare state dict, or several nested ones with DDP's prefix."""
    path = folder / Path(file.name).name
    content: dict[str, Any] = {}
    for part in file.parts:
        state = state_of(RECIPES[part.network])
        if part.nesting:
            (key,) = part.nesting
            content[key] = {f"module.{name}": tensor for name, tensor in state.items()}
        else:
            content = dict(state)
    torch.save(content, path)
    return path
