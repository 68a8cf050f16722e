"""W and G as one network from keypoints to pictures, for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visema_liveportrait.model.fast.decoder import FastDecoder
from visema_liveportrait.model.fast.warp import FastWarp, SourceVolume
from visema_liveportrait.model.spade import SPADEDecoder
from visema_liveportrait.model.warping import WarpingNetwork


class FrameNetwork(nn.Module):
    """What runs for every frame."""

    def __init__(self, warp: FastWarp, decoder: FastDecoder) -> None:
        super().__init__()
        self.warp = warp
        self.decoder = decoder

    def prepare(self, feature_3d: Tensor, kp_source: Tensor) -> SourceVolume:
        """See `FastWarp.prepare`."""
        return self.warp.prepare(feature_3d, kp_source)

    def forward(self, source: SourceVolume, kp_driving: Tensor) -> Tensor:
        """Pictures for driving keypoints: (B, 21, 3) -> (B, 3, 512, 512), RGB in [0, 1], float32."""
        picture: Tensor = self.decoder(self.warp(source, kp_driving)["out"])
        return picture


def optimised(
    warping: WarpingNetwork, decoder: SPADEDecoder, *, dtype: torch.dtype, device: torch.device | str
) -> FrameNetwork:
    """The fast inference network with the weights of loaded reference networks.

    Args:
        dtype: Of the convolutions: float16 on CUDA, bfloat16 or float32 on a CPU. Keypoints, sampling positions and
            statistics are float32 in any case. With bfloat16 the dense motion network stays float32: its 8 bits of
            precision move the sampling positions by a tenth of a cell, which costs 15 dB of the picture (36 instead of
            50 dB on the golden weights); float16 has 11.
    """
    with torch.no_grad():
        frame_network = FrameNetwork(FastWarp(warping), FastDecoder(decoder))
        frame_network.decoder.to(dtype)
        frame_network.warp.set_dtypes(dtype, torch.float32 if dtype is torch.bfloat16 else dtype)
        return frame_network.to(device=device).eval().requires_grad_(requires_grad=False)
