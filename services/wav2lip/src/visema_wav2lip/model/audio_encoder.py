"""The audio tower that generator and SyncNet share in form (not in weights)."""

from __future__ import annotations

from torch import nn

from visema_wav2lip.model.blocks import ConvUnit, residual_units


def audio_encoder(residual_at_256: int) -> nn.Sequential:
    """A mel window of 0.2 s becomes one 512-vector: (B, 1, 80, 16) -> (B, 512, 1, 1).

    Height is the mel axis, width is time; the strides shrink 80 x 16 over 27 x 16 and 9 x 6 to 3 x 3.

    Args:
        residual_at_256: Residual units at 256 channels: 1 in the generator, 2 in SyncNet.
    """
    return nn.Sequential(
        ConvUnit(1, 32, 3, 1, 1),  # 80 x 16
        *residual_units(32, 2),
        ConvUnit(32, 64, 3, (3, 1), 1),  # 27 x 16
        *residual_units(64, 2),
        ConvUnit(64, 128, 3, (3, 3), 1),  # 9 x 6
        *residual_units(128, 2),
        ConvUnit(128, 256, 3, (3, 2), 1),  # 3 x 3
        *residual_units(256, residual_at_256),
        ConvUnit(256, 512, 3, 1, 0),  # 1 x 1
        ConvUnit(512, 512, 1, 1, 0),
    )
