"""F: what the person looks like, as a volume of features."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from visema_liveportrait.model.blocks import ConvBlock2d, ResidualBlock3d


class AppearanceFeatureExtractor(nn.Module):
    """Turns the portrait into a feature volume that the warping network moves about.

    A few 2-D convolutions bring the picture to a quarter of its size with 512 channels; those are then *read* as 32
    channels of a volume 16 cells deep (no tensor changes, only the view), and six residual blocks work in 3-D from
    there on. This is what lets the network turn a head: the volume has a third axis to rotate about.

    The keywords are those of the official configuration. Level i has `min(max_features, block_expansion * 2**i)`
    channels.
    """

    def __init__(
        self,
        *,
        image_channel: int = 3,
        block_expansion: int = 64,
        num_down_blocks: int = 2,
        max_features: int = 512,
        reshape_channel: int = 32,
        reshape_depth: int = 16,
        num_resblocks: int = 6,
    ) -> None:
        super().__init__()
        widths = [min(max_features, block_expansion * 2**level) for level in range(num_down_blocks + 1)]
        self.volume_channels = reshape_channel
        self.volume_depth = reshape_depth
        self.first = ConvBlock2d(image_channel, widths[0])
        self.down_blocks = nn.ModuleList(ConvBlock2d(narrow, wide, pool=True) for narrow, wide in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], reshape_channel * reshape_depth, kernel_size=1)
        self.resblocks_3d = nn.Sequential()
        for index in range(num_resblocks):
            # "3dr0" is no Python identifier, hence registered by string.
            self.resblocks_3d.add_module(f"3dr{index}", ResidualBlock3d(reshape_channel))

    def forward(self, source_image: Tensor) -> Tensor:
        """The feature volume of a portrait.

        Args:
            source_image: (B, 3, 256, 256), RGB in [0, 1].

        Returns: (B, 32, 16, 64, 64): channels, depth, height, width; unbounded.
        """
        x = self.first(source_image)  # (B, 64, 256, 256)
        for down_block in self.down_blocks:
            x = down_block(x)  # (B, 128, 128, 128), (B, 256, 64, 64)
        x = self.second(x)  # (B, 512, 64, 64)
        x = x.view(
            len(x), self.volume_channels, self.volume_depth, *x.shape[2:]
        )  # (B, 32, 16, 64, 64): channel c*16 + d
        volume: Tensor = self.resblocks_3d(x)
        return volume
