"""The Wav2Lip generator: a face whose lower half is hidden, plus 0.2 s of speech, gives the face that says it.

A U-Net with the audio at its narrowest point. The face encoder turns the 96 x 96 picture into seven feature maps, down
to one 512-vector; the audio encoder turns the mel window into another. The decoder starts from the *audio* vector and
grows it back to 96 x 96; after every step it concatenates the face features of the same size, so identity and pose come
from the picture and the mouth's shape from the speech.

Source: Prajwal et al., "A Lip Sync Expert Is All You Need", arXiv 2008.10010.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from visema_wav2lip.model.audio_encoder import audio_encoder
from visema_wav2lip.model.blocks import ConvUnit, UpUnit, residual_units

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIP_DIMENSIONS = 5  # training layout: a time axis beside the batch


class Wav2Lip(nn.Module):
    """Generator in the official configuration; 36,320,837 state elements, 7.93 GFLOP per frame."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvUnit(6, 16, 7, 1, 3)),  # 96
                nn.Sequential(ConvUnit(16, 32, 3, 2, 1), *residual_units(32, 2)),  # 48
                nn.Sequential(ConvUnit(32, 64, 3, 2, 1), *residual_units(64, 3)),  # 24
                nn.Sequential(ConvUnit(64, 128, 3, 2, 1), *residual_units(128, 2)),  # 12
                nn.Sequential(ConvUnit(128, 256, 3, 2, 1), *residual_units(256, 2)),  # 6
                nn.Sequential(ConvUnit(256, 512, 3, 2, 1), *residual_units(512, 1)),  # 3
                nn.Sequential(ConvUnit(512, 512, 3, 1, 0), ConvUnit(512, 512, 1, 1, 0)),  # 1
            ]
        )
        self.audio_encoder = audio_encoder(residual_at_256=1)
        # Every input width is the previous block's output plus the encoder features concatenated to it.
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvUnit(512, 512, 1, 1, 0)),  # 1
                nn.Sequential(UpUnit(512 + 512, 512, 1, 0, 0), *residual_units(512, 1)),  # 3
                nn.Sequential(UpUnit(512 + 512, 512, 2, 1, 1), *residual_units(512, 2)),  # 6
                nn.Sequential(UpUnit(512 + 256, 384, 2, 1, 1), *residual_units(384, 2)),  # 12
                nn.Sequential(UpUnit(384 + 128, 256, 2, 1, 1), *residual_units(256, 2)),  # 24
                nn.Sequential(UpUnit(256 + 64, 128, 2, 1, 1), *residual_units(128, 2)),  # 48
                nn.Sequential(UpUnit(128 + 32, 64, 2, 1, 1), *residual_units(64, 2)),  # 96
            ]
        )
        self.output_block = nn.Sequential(ConvUnit(64 + 16, 32, 3, 1, 1), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def encode_face(self, faces: torch.Tensor) -> list[torch.Tensor]:
        """Face features at all seven sizes, large to small; depends on the picture only, so it can be cached.

        Args: faces: (B, 6, 96, 96), masked B, G, R then full B, G, R, in [0, 1].
        Returns: (B, C, S, S) each, with C = 16, 32, 64, 128, 256, 512, 512 and S = 96, 48, 24, 12, 6, 3, 1.
        """
        features = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            features.append(faces)
        return features

    def encode_audio(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 1, 80, 16) log-mel in [-4, 4] -> (B, 512, 1, 1)."""
        embedding: torch.Tensor = self.audio_encoder(mel)
        return embedding

    def decode(self, audio_embedding: torch.Tensor, face_features: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, 512, 1, 1) and `encode_face`'s list -> (B, 3, 96, 96), B, G, R in [0, 1]."""
        x = audio_embedding
        for block, features in zip(self.face_decoder_blocks, reversed(face_features), strict=True):
            x = torch.cat((block(x), features), dim=1)
        picture: torch.Tensor = self.output_block(x)
        return picture

    def forward(self, audio: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
        """Generate faces.

        Args:
            audio: (B, 1, 80, 16) log-mel windows in [-4, 4], or (B, T, 1, 80, 16) for clips.
            face: (B, 6, 96, 96) as in `encode_face`, or (B, 6, T, 96, 96) for clips.

        Returns: (B, 3, 96, 96), B, G, R in [0, 1], or (B, 3, T, 96, 96).
        """
        if face.dim() < CLIP_DIMENSIONS:
            return self.decode(self.encode_audio(audio), self.encode_face(face))
        batch, _, frames = face.shape[:3]
        # Time-major, as in training: all samples of the first frame, then all of the second.
        audio_tb = audio.transpose(0, 1).flatten(0, 1)  # (T*B, 1, 80, 16)
        face_tb = face.permute(2, 0, 1, 3, 4).flatten(0, 1)  # (T*B, 6, 96, 96)
        picture = self.decode(self.encode_audio(audio_tb), self.encode_face(face_tb))
        return picture.view(frames, batch, *picture.shape[1:]).permute(1, 2, 0, 3, 4)  # (B, 3, T, 96, 96)
