"""S, R_eyes, R_lip: three small perceptrons that correct driving keypoints.

"Source keypoints" are the transformed keypoints x_s of the portrait, not the canonical ones, flattened keypoint by
keypoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class KeypointPerceptron(nn.Module):
    """Linear layers with ReLU between them; the last one is bare."""

    def __init__(self, input_size: int, hidden_sizes: Sequence[int], output_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential()
        for fan_in, fan_out in pairwise([input_size, *hidden_sizes, output_size]):
            if len(self.mlp):
                self.mlp.append(nn.ReLU())  # holds an index in the list, so the linear layers are 0, 2, 4, ...
            self.mlp.append(nn.Linear(fan_in, fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_size) -> (B, output_size)."""
        y: Tensor = self.mlp(x)
        return y


class StitchingNetwork(KeypointPerceptron):
    """Moves driving keypoints so that the shoulders of the animated crop meet those of the original picture.

    Input: source keypoints (63), then driving keypoints (63). Output: keypoint offsets (63), then an offset (tx, ty)
        for all.
    """

    def __init__(
        self, *, input_size: int = 126, hidden_sizes: Sequence[int] = (128, 128, 64), output_size: int = 65
    ) -> None:
        super().__init__(input_size, hidden_sizes, output_size)


class EyeRetargetingNetwork(KeypointPerceptron):
    """Offsets that open or close the eyes.

    Input: source keypoints (63), openness of the source's left and right eye, wanted openness. Output: keypoint
        offsets (63).
    """

    def __init__(
        self, *, input_size: int = 66, hidden_sizes: Sequence[int] = (256, 256, 128, 128, 64), output_size: int = 63
    ) -> None:
        super().__init__(input_size, hidden_sizes, output_size)


class LipRetargetingNetwork(KeypointPerceptron):
    """Offsets that open or close the mouth.

    Input: source keypoints (63), openness of the source's lips, wanted openness. Output: keypoint offsets (63).
    """

    def __init__(
        self, *, input_size: int = 65, hidden_sizes: Sequence[int] = (128, 128, 64), output_size: int = 63
    ) -> None:
        super().__init__(input_size, hidden_sizes, output_size)
