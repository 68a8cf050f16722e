"""Back from 96 x 96 into the frame.

The published program pastes the whole square with a hard edge (`paste_square`, kept for parity): a visible rectangle,
and eyes blurred by the detour over 96 pixels although the network had nothing to say about them. `FeatheredPaste`
takes the lower half, which the network invented, at full weight and fades out over the parts the network only copies.
The weight is exactly 1 at and around the mouth: blending there would mix the old closed mouth into the new open one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_wav2lip.masking import FACE_PX, FIRST_HIDDEN_ROW

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom exclusive

FIRST_INVENTED = FIRST_HIDDEN_ROW / FACE_PX  # fraction of the height from which on pixels are the network's own


def paste_square(frame: Picture, face: Floats, box_px: Box) -> Picture:
    """Paste with a hard edge, exactly as published: truncate to whole counts, enlarge, overwrite.

    Args: frame: uint8 (H, W, 3). face: float32 (96, 96, 3) in [0, 1], B, G, R.
    Returns: uint8 (H, W, 3), a new picture.
    """
    left, top, right, bottom = box_px
    counts = (face * 255.0).astype(np.uint8)
    pasted = frame.copy()
    pasted[top:bottom, left:right] = cv2.resize(counts, (right - left, bottom - top))
    return pasted


@dataclass(frozen=True, slots=True)
class FeatheredPaste:
    """Paste of the invented half with soft edges, in the shape of a jaw.

    The lower corners of a face box show background and collar, which the detour over 96 pixels only blurs. So the
    region is a box above the middle and half a superellipse below it; its level is 0 in the centre and 1 at the rim.

    Attributes:
        rim: Width of the soft edge, in levels: a share of half the box.
        fade: Height of the fade above the invented half, in heights of the box.
        roundness: Exponent of the superellipse: 2 is an ellipse, larger ones come close to the box.
    """

    rim: float = 0.16
    fade: float = 0.14
    roundness: float = 3.0

    def weights(self, box_px: Box, mouth_px: Box | None = None) -> Floats:
        """Weight of the network's picture per pixel of the box: float32 (height, width), 1 on the mouth.

        Where `mouth_px` reaches into a soft edge or above the invented half, the region grows there, softly again.
        """
        left, top, right, bottom = box_px
        across: Doubles = np.arange(right - left, dtype=np.float64) + 0.5  # pixel centres
        down: Doubles = np.arange(bottom - top, dtype=np.float64) + 0.5
        first_full_row = FIRST_INVENTED * len(down)
        fade = _smooth_step(down, first_full_row - self.fade * len(down), first_full_row)
        jaw = 1 - _smooth_step(self._levels(across, down), 1 - self.rim, 1)
        weight = jaw * fade[:, None]  # (H, W)
        if mouth_px is not None:
            soft = self.rim / 2 * len(across)  # pixels
            columns = _near(across, mouth_px[0] - left, mouth_px[2] - left, soft)
            rows = _near(down, mouth_px[1] - top, mouth_px[3] - top, soft)
            weight = np.maximum(weight, np.outer(rows, columns))
        return weight.astype(np.float32)

    def _levels(self, across: Doubles, down: Doubles) -> Doubles:
        """Level of each pixel from the centres of the box's columns (W,) and rows (H,): float64 (H, W)."""
        sideways = np.abs(2 * across / len(across) - 1)
        downwards = np.maximum(0, (down / len(down) - FIRST_INVENTED) / (1 - FIRST_INVENTED))
        powers = sideways[None, :] ** self.roundness + downwards[:, None] ** self.roundness
        levels: Doubles = powers ** (1 / self.roundness)
        return levels

    def paste(self, frame: Picture, face: Floats, box_px: Box, mouth_px: Box | None = None) -> None:
        """Write the generated face into `frame`.

        Args: frame: uint8 (H, W, 3), changed in place. face: float32 (96, 96, 3) in [0, 1], B, G, R. box_px: inside the
            frame. mouth_px: bounds of the lips in the frame, where known.
        """
        left, top, right, bottom = box_px
        size = (right - left, bottom - top)
        # Cubic keeps more of the 96 pixels than linear does when enlarging; area is right when the face is smaller.
        enlarging = min(size) >= FACE_PX
        change: Floats = np.asarray(
            cv2.resize(face, size, interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA),
            np.float32,
        )
        weight = self.weights(box_px, mouth_px)
        first = int(np.argmax(weight.any(axis=1)))  # above, the frame keeps its pixels
        region, change, weight = frame[top + first : bottom, left:right], change[first:], weight[first:]
        change *= 255
        change -= region
        change *= weight[:, :, None]
        region[:] = cv2.add(region, change, dtype=cv2.CV_8U)  # rounds, and stays within 0 to 255


def _smooth_step(values: Doubles, low: float, high: float) -> Doubles:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    step: Doubles = t * t * (3 - 2 * t)
    return step


def _near(values: Doubles, low: float, high: float, soft: float) -> Doubles:
    """1 between `low` and `high`, falling smoothly to 0 at a distance of `soft`."""
    distance: Doubles = np.maximum(0, np.maximum(low - values, values - high))
    return 1 - _smooth_step(distance, 0, soft)
