"""The mathematics around the LivePortrait networks: numpy only, no torch, equal to the original's numbers.

`pose` angles and rotations · `keypoints` the keypoint model · `driving` animating a portrait by another face's motion
· `retargeting` corrections by the small perceptrons · `ratios` how far eyes and lips are open · `crop` and `paste`
geometry in the picture · `smoothing` over time.

Arrays are float32. Keypoints are (N, 21, 3) in the networks' coordinates: x to the right, y down, z inward.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
AnyFloatArray = npt.NDArray[np.floating[Any]]

__all__ = ["AnyFloatArray", "FloatArray", "ImageArray"]
