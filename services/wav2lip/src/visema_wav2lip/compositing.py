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
    """Paste of the invented half with soft edges.

    Attributes:
        side_ratio: Width of the soft edge left and right, in widths of the box.
        bottom_ratio: Height of the soft edge at the bottom, in heights of the box.
        top_ratio: Height of the fade above the invented half, in heights of the box.
    """

    side_ratio: float = 0.08
    bottom_ratio: float = 0.06
    top_ratio: float = 0.14

    def weights(self, box_px: Box, mouth_px: Box | None = None) -> Floats:
        """Weight of the network's picture per pixel of the box: float32 (height, width), 1 on the mouth.

        Where `mouth_px` comes close to an edge of the box, that soft edge gets narrower (or hard) instead of reaching
        the mouth; a mouth above the invented half moves the upper fade up.
        """
        left, top, right, bottom = box_px
        width, height = right - left, bottom - top
        sides = self.side_ratio * width
        soft = np.array([sides, FIRST_INVENTED * height, sides, self.bottom_ratio * height])
        if mouth_px is not None:
            mouth_left, mouth_top, mouth_right, mouth_bottom = mouth_px
            inset = (mouth_left - left, mouth_top - top, right - mouth_right, bottom - mouth_bottom)
            soft = np.clip(np.minimum(soft, inset), 0, None)
        fade = min(self.top_ratio * height, soft[1])
        columns = np.minimum(_ramp(width, soft[0]), _ramp(width, soft[2])[::-1])
        rows = np.minimum(_ramp(height, fade, outside=soft[1] - fade), _ramp(height, soft[3])[::-1])
        return np.outer(rows, columns).astype(np.float32)

    def paste(self, frame: Picture, face: Floats, box_px: Box, mouth_px: Box | None = None) -> None:
        """Write the generated face into `frame`.

        Args: frame: uint8 (H, W, 3), changed in place. face: float32 (96, 96, 3) in [0, 1], B, G, R. box_px: inside the
            frame. mouth_px: bounds of the lips in the frame, where known.
        """
        left, top, right, bottom = box_px
        size = (right - left, bottom - top)
        # Cubic keeps more of the 96 pixels than linear does when enlarging; area is right when the face is smaller.
        enlarging = min(size) >= FACE_PX
        face_counts = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA) * 255
        weight = self.weights(box_px, mouth_px)[:, :, None]
        region = frame[top:bottom, left:right]
        mixed = region + weight * (face_counts - region)
        region[:] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _ramp(length: int, soft: float, outside: float = 0.0) -> npt.NDArray[np.float64]:
    """Smooth step over pixel centres: 0 up to `outside`, 1 from `outside + soft` on; a hard step if soft is 0."""
    centres = np.arange(length) + 0.5
    if soft <= 0:
        return (centres >= outside).astype(np.float64)
    t = np.clip((centres - outside) / soft, 0, 1)
    smooth_step: npt.NDArray[np.float64] = t * t * (3 - 2 * t)
    return smooth_step
