"""S3FD, the face detector that Wav2Lip was published with. Optional: our own stage 1 sends a face track.

A VGG-16 body with six taps at strides 4 to 128. Every tap predicts, for each of its cells, one square anchor's face
score and box shift, so small faces are found at the fine taps and large ones at the coarse. `visema_wav2lip.detection`
turns the raw maps into boxes.

Source: Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", arXiv 1708.05237.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

NORM_EPS = 1e-10  # added to the length, not to its square

# VGG stages in front of the three normalised taps: names, then a 2x2 max pool.
BODY_STAGES = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)


class ChannelL2Norm(nn.Module):
    """Scale every cell's channel vector to length 1, then each channel by a learned gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        length = x.square().sum(dim=1, keepdim=True).sqrt() + NORM_EPS
        return x / length * self.weight[:, None, None]


class S3FD(nn.Module):
    """Detector in the official configuration; 22,459,110 state elements."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 64, 3, padding=1)
        self.conv1_2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv2_1 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv2_2 = nn.Conv2d(128, 128, 3, padding=1)
        self.conv3_1 = nn.Conv2d(128, 256, 3, padding=1)
        self.conv3_2 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv3_3 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv4_1 = nn.Conv2d(256, 512, 3, padding=1)
        self.conv4_2 = nn.Conv2d(512, 512, 3, padding=1)
        self.conv4_3 = nn.Conv2d(512, 512, 3, padding=1)
        self.conv5_1 = nn.Conv2d(512, 512, 3, padding=1)
        self.conv5_2 = nn.Conv2d(512, 512, 3, padding=1)
        self.conv5_3 = nn.Conv2d(512, 512, 3, padding=1)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=3)  # padding 3: the map grows by 4
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.conv6_1 = nn.Conv2d(1024, 256, 1)
        self.conv6_2 = nn.Conv2d(256, 512, 3, stride=2, padding=1)
        self.conv7_1 = nn.Conv2d(512, 128, 1)
        self.conv7_2 = nn.Conv2d(128, 256, 3, stride=2, padding=1)
        self.conv3_3_norm = ChannelL2Norm(256)
        self.conv4_3_norm = ChannelL2Norm(512)
        self.conv5_3_norm = ChannelL2Norm(512)
        # The finest tap has three background channels, because most of its cells are background.
        self.conv3_3_norm_mbox_conf = nn.Conv2d(256, 4, 3, padding=1)
        self.conv3_3_norm_mbox_loc = nn.Conv2d(256, 4, 3, padding=1)
        self.conv4_3_norm_mbox_conf = nn.Conv2d(512, 2, 3, padding=1)
        self.conv4_3_norm_mbox_loc = nn.Conv2d(512, 4, 3, padding=1)
        self.conv5_3_norm_mbox_conf = nn.Conv2d(512, 2, 3, padding=1)
        self.conv5_3_norm_mbox_loc = nn.Conv2d(512, 4, 3, padding=1)
        self.fc7_mbox_conf = nn.Conv2d(1024, 2, 3, padding=1)
        self.fc7_mbox_loc = nn.Conv2d(1024, 4, 3, padding=1)
        self.conv6_2_mbox_conf = nn.Conv2d(512, 2, 3, padding=1)
        self.conv6_2_mbox_loc = nn.Conv2d(512, 4, 3, padding=1)
        self.conv7_2_mbox_conf = nn.Conv2d(256, 2, 3, padding=1)
        self.conv7_2_mbox_loc = nn.Conv2d(256, 4, 3, padding=1)

    def _relu(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Apply the named convolution of the body and ReLU."""
        return functional.relu(self.get_submodule(name)(x))

    def _taps(self, x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        """The six feature maps with their names, fine to coarse."""
        taps = []
        for stage in BODY_STAGES:
            for name in stage:
                x = self._relu(name, x)
            norm_name = f"{stage[-1]}_norm"
            if stage[-1] in {"conv3_3", "conv4_3", "conv5_3"}:
                taps.append((norm_name, self.get_submodule(norm_name)(x)))  # the body goes on un-normalised
            x = functional.max_pool2d(x, 2)
        x = self._relu("fc7", self._relu("fc6", x))
        taps.append(("fc7", x))
        for first, second in (("conv6_1", "conv6_2"), ("conv7_1", "conv7_2")):
            x = self._relu(second, self._relu(first, x))
            taps.append((second, x))
        return taps

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Raw score and box maps.

        Args: image: (B, 3, H, W), R, G, B in 0..255 minus (104, 117, 123).
        Returns: for each of the six taps (strides 4, 8, 16, 32, 64, 128): scores (B, 2, h, w) as background, face, then
            box shifts (B, 4, h, w).
        """
        maps = []
        for name, features in self._taps(image):
            scores = self.get_submodule(f"{name}_mbox_conf")(features)
            if name == "conv3_3_norm":
                background = scores[:, :3].amax(dim=1, keepdim=True)
                scores = torch.cat((background, scores[:, 3:]), dim=1)  # (B, 2, h, w)
            maps += [scores, self.get_submodule(f"{name}_mbox_loc")(features)]
        return maps
