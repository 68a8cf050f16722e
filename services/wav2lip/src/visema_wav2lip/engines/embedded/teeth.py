"""The upper teeth: a texture fixed to the skull, drawn once per portrait; an open smile keeps its own teeth.

A tooth row follows an arch: the front teeth are the widest and brightest, the sides turn into the shade. Each tooth
is rounded across and at its edge; the edge itself lets the dark behind shine through. All lengths in W.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.embedded.curves import smooth_step
from visema_wav2lip.engines.embedded.geometry import Floats, LipContours, MouthAxes
from visema_wav2lip.engines.embedded.palette import LUMA, Palette
from visema_wav2lip.engines.embedded.seam import Opening, closing_line, straighten

_SCALE = 160  # texture samples per W
_X_SPAN, _Y_SPAN = (-0.6, 0.6), (-0.35, 0.45)
_BORDERS = np.array([0.0, 0.148, 0.258, 0.350, 0.425])  # between teeth, from the middle: incisors, canine, premolars
_VISIBLE = 0.060  # below the closing line, at the middle
_ARCH_RISE = 0.22  # per W², of the edge towards the sides
_LATERAL_STEP = 0.010  # lateral incisors are shorter
_EMBRASURE = 0.015  # notch between two edges
_SIDE_FADE = (0.29, 0.43)  # W from the middle, where the row turns out of sight
_BRIGHT_TEETH = 0.60  # of the skin's luminance; darker openings show no teeth worth keeping
_SURE = 0.6  # share of a texture sample that is tooth
_PARTED_FOR_TEETH = 0.075  # W


@dataclass(frozen=True, slots=True)
class TeethTexture:
    """BGRA texture of the upper teeth in local coordinates, float32 (H, W, 4), alpha 0..255.

    Attributes:
        own: True when the portrait's own teeth are in it.
    """

    bgra: Floats
    own: bool

    def sample(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Colour (h, w, 3) and alpha (h, w, 1) in 0..1 at local coordinates."""
        out = cv2.remap(
            self.bgra,
            (x - np.float32(_X_SPAN[0])) * _SCALE - np.float32(0.5),
            (y - np.float32(_Y_SPAN[0])) * _SCALE - np.float32(0.5),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(out[..., :3]), np.asarray(out[..., 3:] * np.float32(1 / 255))


def make_teeth(
    picture: npt.NDArray[np.uint8],
    axes: MouthAxes,
    contours: LipContours,
    palette: Palette,
    opening: Opening | None,
) -> TeethTexture:
    """Teeth for this portrait; its own where an open smile shows them."""
    patch, x, y = straighten(picture, axes, _X_SPAN, _Y_SPAN, _SCALE)
    colour, alpha = _drawn_teeth(x, y, contours, palette, 1 / axes.width_px)
    if opening is None or contours.gap < _PARTED_FOR_TEETH:
        return TeethTexture(_pack(colour, alpha), own=False)
    seen = _own_teeth(patch.astype(np.float32), x, y, contours, opening, palette, 1 / axes.width_px)
    if seen is None:
        return TeethTexture(_pack(colour, alpha), own=False)
    return TeethTexture(_pack(*_continued_up(patch.astype(np.float32), seen)), own=True)


def _continued_up(patch: Floats, seen: npt.NDArray[np.float64]) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Colour and alpha of teeth that go on behind the photo's upper lip: each column repeats its highest sure pixel."""
    sure = seen > _SURE
    columns = sure.any(axis=0)
    rows = np.arange(len(seen))[:, None]
    top = np.where(columns, sure.argmax(axis=0) + 2, len(seen))  # past the lip's shade
    clamped = patch[np.maximum(rows, np.minimum(top, len(seen) - 1)), np.arange(seen.shape[1])]
    joined = np.asarray(cv2.GaussianBlur(clamped, (0, 0), 1.5), np.float32)  # joins columns of unequal height
    share = np.where(rows < top, 1.0, 0.0)[..., None]
    hidden = np.where((rows <= top + 1) & columns, seen.max(axis=0), 0.0)
    alpha = np.asarray(cv2.GaussianBlur(np.maximum(seen, hidden), (0, 0), 1.0), np.float64)
    return patch + (joined - patch) * share.astype(np.float32), alpha


def _pack(colour: npt.NDArray[np.floating], alpha: npt.NDArray[np.floating]) -> Floats:
    return np.ascontiguousarray(np.dstack([colour, alpha * 255]), np.float32)


def _drawn_teeth(
    x: Floats,
    y: Floats,
    contours: LipContours,
    palette: Palette,
    pixel: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Colour (H, W, 3) and alpha (H, W) of a row of teeth."""
    line = closing_line(contours)
    middle = contours.at_middle(line)
    base = 0.3 * np.interp(x, contours.x, line) + 0.7 * middle  # a smile's curve bends the row only a little
    along = np.interp(x, contours.x, contours.side) / 2
    beside = np.abs(along)
    tooth = np.clip(np.searchsorted(_BORDERS, beside, side="right"), 1, len(_BORDERS) - 1)
    start, end = _BORDERS[tooth - 1], _BORDERS[tooth]
    across = np.clip((2 * beside - start - end) / (end - start), -1.3, 1.3)  # -1..1 over one tooth
    lateral = smooth_step((beside - 0.14) / 0.02) * smooth_step((0.27 - beside) / 0.02)
    edge = base + _VISIBLE - _ARCH_RISE * along**2 - _LATERAL_STEP * lateral - _EMBRASURE * np.abs(across) ** 5
    soft = max(1.5 * palette.softness_px * pixel, 0.020)
    below = (edge[None] - y[:, None]) / soft
    fade = 1 - smooth_step((beside - _SIDE_FADE[0]) / (_SIDE_FADE[1] - _SIDE_FADE[0]))
    alpha = smooth_step(below + 0.5) * fade[None] * 0.95

    turned = 1 - 0.50 * np.clip(beside / 0.42, 0, 1) ** 1.7
    rounded = 1 - 0.10 * np.clip(np.abs(across), 0, 1) ** 3 - 0.07 * np.exp(-(((np.abs(across) - 1) / 0.12) ** 2))
    height = np.clip((edge[None] - y[:, None]) / 0.10, 0, 1)
    upright = 0.90 + 0.10 * smooth_step(height / 0.35) - 0.10 * smooth_step((height - 0.55) / 0.45)
    shade = turned[None] * rounded[None] * upright
    warm = np.array([-0.06, -0.02, 0.0]) * smooth_step((height - 0.4) / 0.6)[..., None]  # towards the gum
    return palette.tooth * shade[..., None] * (1 + warm), alpha


def _own_teeth(  # noqa: PLR0917 - what was measured so far
    patch: Floats,
    x: Floats,
    y: Floats,
    contours: LipContours,
    opening: Opening,
    palette: Palette,
    pixel: float,
) -> npt.NDArray[np.float64] | None:
    """Alpha (H, W) of the photo's own teeth with soft edges, or None when it shows none."""
    upper = np.interp(x, contours.x, contours.upper_inner)[None]
    lower = np.interp(x, contours.x, contours.lower_inner)[None]
    rows = y[:, None]
    keep = smooth_step((rows - upper) / (2 * pixel) - 0.3) * smooth_step((lower - rows) / (3.5 * pixel) - 0.35)
    keep = keep * (np.abs(x)[None] < 0.5)  # noqa: PLR2004 - corners
    seen = cv2.GaussianBlur(opening.mask.astype(np.float32), (0, 0), 2.5)
    map_x = np.broadcast_to((x - opening.x[0]) / (opening.x[1] - opening.x[0]), keep.shape).astype(np.float32)
    map_y = np.broadcast_to((rows - opening.y[0]) / (opening.y[1] - opening.y[0]), keep.shape).astype(np.float32)
    keep = keep * smooth_step(cv2.remap(seen, map_x, map_y, cv2.INTER_LINEAR) * 1.6 - 0.4)
    solid = keep > 0.5  # noqa: PLR2004 - more seen than not
    if np.count_nonzero(solid) < 0.02 * _SCALE**2:
        return None
    luma = patch @ LUMA
    if np.median(luma[solid]) < _BRIGHT_TEETH * palette.skin_luma:
        return None
    # Dark gaps between the teeth and at the corners belong to the cavity.
    return np.asarray(keep * smooth_step((luma / palette.skin_luma - 0.25) / 0.25), np.float64)
