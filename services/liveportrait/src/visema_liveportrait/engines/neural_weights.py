"""The networks with the weights of the checkpoint folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import nn
from visema_kit.checkpoints_store import CheckpointFolder, ImportedNetwork, weights_digest

from visema_liveportrait import model

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class LivePortraitNetworks:
    """All reference networks, loaded, in evaluation mode, float32, on the CPU.

    Attributes:
        sha256: Over all weights.
    """

    appearance: model.AppearanceFeatureExtractor
    motion: model.MotionExtractor
    warping: model.WarpingNetwork
    decoder: model.SPADEDecoder
    stitching: model.StitchingNetwork
    eyes: model.EyeRetargetingNetwork
    lips: model.LipRetargetingNetwork
    sha256: str


def load_networks(folder: CheckpointFolder) -> LivePortraitNetworks:
    """Load all networks.

    Raises: CheckpointMissing: weights are absent, changed, or do not fit. Nothing is built before all hashes were
        right.
    """
    names = ("appearance", "motion", "warping", "decoder", "stitching", "eyes", "lips")
    loaded = {name: folder.load(f"liveportrait/{name}") for name in names}
    entries: list[ImportedNetwork] = [entry for _, entry in loaded.values()]

    def filled(network: _Network, name: str) -> _Network:
        network.load_state_dict(loaded[name][0], strict=True)
        return network.eval().requires_grad_(requires_grad=False)

    return LivePortraitNetworks(
        appearance=filled(model.AppearanceFeatureExtractor(), "appearance"),
        motion=filled(model.MotionExtractor(), "motion"),
        warping=filled(model.WarpingNetwork(), "warping"),
        decoder=filled(model.SPADEDecoder(), "decoder"),
        stitching=filled(model.StitchingNetwork(), "stitching"),
        eyes=filled(model.EyeRetargetingNetwork(), "eyes"),
        lips=filled(model.LipRetargetingNetwork(), "lips"),
        sha256=weights_digest(entries),
    )
