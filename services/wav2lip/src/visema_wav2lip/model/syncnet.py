"""SyncNet: do these five frames and this 0.2 s of speech belong together?

Two towers map the lower half of five consecutive faces and a mel window to unit vectors; their scalar product is 1
for perfect sync. Every layer ends in ReLU, so all components are non-negative and the product lies in [0, 1]. Wav2Lip
trains against it; here it judges results.

Source: Prajwal et al., arXiv 2008.10010, after Chung and Zisserman, "Out of Time" (2016).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from visema_wav2lip.model.audio_encoder import audio_encoder
from visema_wav2lip.model.blocks import ConvUnit, residual_units

FRAMES = 5  # one window: 5 frames at 25 fps are 0.2 s, as are 16 mel columns


class SyncNet(nn.Module):
    """Lip-sync expert in the official configuration; 16,449,183 state elements."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            ConvUnit(3 * FRAMES, 32, 7, 1, 3),  # 48 x 96
            ConvUnit(32, 64, 5, (1, 2), 1),  # 46 x 47
            *residual_units(64, 2),
            ConvUnit(64, 128, 3, 2, 1),  # 23 x 24
            *residual_units(128, 3),
            ConvUnit(128, 256, 3, 2, 1),  # 12 x 12
            *residual_units(256, 2),
            ConvUnit(256, 512, 3, 2, 1),  # 6 x 6
            *residual_units(512, 2),
            ConvUnit(512, 512, 3, 2, 1),  # 3 x 3
            ConvUnit(512, 512, 3, 1, 0),  # 1 x 1
            ConvUnit(512, 512, 1, 1, 0),
        )
        self.audio_encoder = audio_encoder(residual_at_256=2)

    def forward(self, audio: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed both sides.

        Args:
            audio: (B, 1, 80, 16) log-mel in [-4, 4].
            faces: (B, 15, 48, 96), lower halves of five frames in order, each B, G, R in [0, 1].

        Returns: audio and face embedding, (B, 512) each, of length 1.
        """
        audio_embedding = self.audio_encoder(audio).flatten(1)  # (B, 512)
        face_embedding = self.face_encoder(faces).flatten(1)  # (B, 512)
        return functional.normalize(audio_embedding), functional.normalize(face_embedding)
