"""The generator's face input: a picture with its lower half hidden, beside the whole picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FACE_PX = 96  # side of the network's picture
FIRST_HIDDEN_ROW = FACE_PX // 2  # the lower half, which the network has to invent

Pictures = npt.NDArray[np.uint8]


def with_hidden_half(crops: Pictures) -> Pictures:
    """Masked copy and full picture side by side on the channels, as the generator takes them.

    The full picture is the same frame, mouth included: it shows the network whose face this is.

    Args: crops: uint8 (N, 96, 96, 3), B, G, R.
    Returns: uint8 (N, 96, 96, 6): B, G, R with rows 48 to 95 black, then B, G, R.
    """
    masked = crops.copy()
    masked[:, FIRST_HIDDEN_ROW:] = 0
    return np.concatenate((masked, crops), axis=3)
