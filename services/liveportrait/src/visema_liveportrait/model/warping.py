"""W: the appearance volume moved to where the driving keypoints say, and flattened to a feature map."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from visema_liveportrait.model.blocks import ConvBlock2d
from visema_liveportrait.model.dense_motion import DenseMotionNetwork
from visema_liveportrait.model.grids import sample_volume

THIRD_NEGATIVE_SLOPE = 0.01  # torch's default: neither the ReLU of the other blocks nor the decoder's 0.2
OFFICIAL_DENSE_MOTION: Mapping[str, int] = {
    "block_expansion": 32,
    "max_features": 1024,
    "num_blocks": 5,
    "reshape_depth": 16,
    "compress": 4,
}


class WarpingNetwork(nn.Module):
    """Deforms the appearance volume and projects it to the 2-D features that the decoder paints from.

    The keywords are those of the official configuration.
    """

    def __init__(
        self,
        *,
        num_kp: int = 21,
        block_expansion: int = 64,
        max_features: int = 512,
        num_down_blocks: int = 2,
        reshape_channel: int = 32,
        estimate_occlusion_map: bool = True,
        dense_motion_params: Mapping[str, int] = OFFICIAL_DENSE_MOTION,
    ) -> None:
        super().__init__()
        if not estimate_occlusion_map:
            raise ValueError("the published weights hold an occlusion branch; a network without it is not supported")
        channels = min(max_features, block_expansion * 2**num_down_blocks)  # 256
        depth = dense_motion_params["reshape_depth"]
        self.dense_motion_network = DenseMotionNetwork(
            num_kp=num_kp, feature_channel=reshape_channel, **dense_motion_params
        )
        self.third = ConvBlock2d(reshape_channel * depth, channels, negative_slope=THIRD_NEGATIVE_SLOPE)
        self.fourth = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, feature_3d: Tensor, kp_driving: Tensor, kp_source: Tensor) -> dict[str, Tensor]:
        """Warp the volume from the source keypoints to the driving keypoints. Mind the order: driving comes first.

        Args:
            feature_3d: (B, 32, 16, 64, 64), from the appearance feature extractor.
            kp_driving: (B, 21, 3).
            kp_source: (B, 21, 3).

        Returns: `occlusion_map` (B, 1, 64, 64); `deformation` (B, 16, 64, 64, 3), the sampling grid; `out` (B, 256,
            64, 64).
        """
        deformation, occlusion_map = self.dense_motion_network(feature_3d, kp_driving, kp_source)
        warped = sample_volume(feature_3d, deformation).flatten(1, 2)  # (B, 512, 64, 64): channel c*16 + d
        out = self.fourth(self.third(warped)) * occlusion_map  # (B, 256, 64, 64)
        return {"occlusion_map": occlusion_map, "deformation": deformation, "out": out}
