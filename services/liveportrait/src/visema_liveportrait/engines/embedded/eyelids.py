"""Blinks and looks of one eye, painted on a patch of the enlarged portrait.

Three layers: the eye itself (turned by the gaze, shaded under the lid), the lower lid (rises a little), and on top the
upper lid. The lid's skin is not stretched from what is visible, which would smear lashes and creases; it is filled in
from the trustworthy skin around the eye, with the portrait's own grain. What is darker than skin along the contour -
lashes, painted outlines - is kept as a ratio to the skin and rides down with the lid.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from visema_liveportrait.engines.embedded.eye_shape import EyeShape, Plane, outline_mask
from visema_liveportrait.engines.embedded.relaxation import fill_from_weighted

Picture = npt.NDArray[np.uint8]
Layer = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

# In eye widths unless said otherwise.
LASH_ABOVE, LASH_BELOW = 0.055, 0.02  # what rides with the contour
LASH_FADE_ABOVE, LASH_FADE_BELOW = 0.08, 0.03
LID_TOP = 0.15  # the lid's skin begins this far above the contour
LOWER_RISE = 0.14  # of the opening
OVERLAP = 0.02  # upper lid beyond the meeting line
UNTRUSTED_ABOVE, UNTRUSTED_BELOW, UNTRUSTED_SIDE = 0.13, 0.09, 0.16
BROW_MARGIN = 0.07
CHEEK_BAND = (0.14, 0.42)
SKIN_TOLERANCE = 9.0  # in Lab units
LIGHTNESS_TRUST = 0.45  # shade of the eye socket counts less than a change of colour
GRAIN_SIGMA, GRAIN_SHIFT, GRAIN_GAIN = 0.045, 0.34, 0.85
DARKEST_RATIO = 0.30
LASH_LINE, LASH_LINE_WIDTH = 0.27, 0.03
LASH_CALM = 0.15  # a closed lid hides part of the dark rim
SHADE_EXPONENTS = (1.12, 1.03, 0.84)  # BGR: shade on skin is warm, not grey
COLOURFUL_SKIN = 0.25  # (brightest - darkest channel) / brightest, from which on this holds in full
CREASE, CREASE_ABOVE, CREASE_WIDTH = 0.07, 0.06, 0.035
LID_SHADE, LID_SHADE_REACH = 0.07, 0.16
EYE_SHADOW, EYE_SHADOW_REACH = 0.22, 0.35  # reach in openings
EDGE_PX = 1.7
FULL_COVER_CLOSURE = 0.16  # from here on the lid hides the skin above the contour
IRIS_TRAVEL = 0.40  # radius of the eyeball
STILL_GAZE_PX = 0.05
HIDDEN_CONTRAST, SEEN_CONTRAST = 0.06, 0.12  # spread of grey inside the contours, share of the face's grey
HIDDEN_LIGHT, SEEN_LIGHT = 0.25, 0.40  # of the brightest part: the white of the eye


class Eyelids:
    """One eye, ready to blink and to look."""

    def __init__(
        self, enlarged: Picture, shape: EyeShape, face_outline: npt.NDArray[np.float64], face_light: float
    ) -> None:
        """Analyse an eye.

        Args:
            enlarged: uint8 (H, W, 3), the enlarged portrait.
            shape: The eye in it.
            face_outline: float64 (n, 2), outline of the face in the same pixels.
            face_light: Median grey level of the face.
        """
        self.shape = shape
        window = shape.window
        self._base = np.ascontiguousarray(enlarged[window.top : window.bottom, window.left : window.right])
        self.mobility = shape.mobility * _visibility(self._base, shape, face_light)
        y, x = np.mgrid[0 : window.height, 0 : window.width].astype(np.float32)
        self._x, self._y = x, y
        base = self._base.astype(np.float32)
        on_face = outline_mask(shape, face_outline)
        trust = _skin_trust(self._base, shape, on_face)
        smooth = fill_from_weighted(base, trust)
        smooth = np.asarray(cv2.GaussianBlur(smooth, (0, 0), 0.05 * shape.width), np.float32)
        self._ratio = _lash_ratio(base, smooth, shape, on_face)
        self._skin = smooth + self._grain(base, trust)
        self._shade_exponents = _shade_exponents(smooth)
        reach = np.clip(shape.opening / (0.30 * shape.height), 0.0, 1.0)
        self._presence = reach * reach * (3.0 - 2.0 * reach)
        self._gaze_window = np.clip(1.0 - (2.0 * shape.along / shape.width) ** 2, 0.0, 1.0).astype(np.float32)
        self._inner = np.clip((shape.down - shape.upper) / 2.0 + 0.5, 0.0, 1.0)
        self._inner *= np.clip((shape.lower - shape.down) / 2.0 + 0.5, 0.0, 1.0) * (shape.opening > 1.0)

    @property
    def size_bytes(self) -> int:
        """Memory of the layers."""
        return self._base.nbytes * 12

    def gaze_shift(self, gaze_x_deg: float, gaze_y_deg: float) -> tuple[float, float]:
        """How far the iris moves in pixels of the enlarged portrait, right and down in the picture."""
        travel = IRIS_TRAVEL * self.shape.width * self.mobility
        return travel * math.sin(math.radians(gaze_x_deg)), travel * math.sin(math.radians(gaze_y_deg))

    def closure(self, openness: float) -> float:
        """How far the lids close; eyes that are closed or hidden in the portrait stay as they are."""
        return (1.0 - openness) * self.mobility

    def lid_drop(self, closure: float) -> Plane:
        """How far the upper contour moves down in each column, in pixels of the enlarged portrait."""
        shape = self.shape
        meeting = shape.opening * (1.0 - LOWER_RISE * closure)
        return np.asarray(closure * (meeting + OVERLAP * shape.width * self._presence), np.float32)

    def paint(self, openness: float, gaze_x_deg: float, gaze_y_deg: float) -> Picture:
        """The patch with the eye as it is to be: uint8 (h, w, 3)."""
        closure = self.closure(openness)
        shift_x, shift_y = self.gaze_shift(gaze_x_deg, gaze_y_deg)
        looks = abs(shift_x) + abs(shift_y) > STILL_GAZE_PX
        if not looks and closure <= 0.0:
            return self._base
        patch = self._base.astype(np.float32)
        if looks:
            looking = self._moved(self._base, shift_x * self._gaze_window, shift_y * self._gaze_window)
            patch += (looking - patch) * self._inner[..., None]
        if closure > 0.0:
            patch = self._close(patch, closure)
        return np.asarray(np.clip(patch + 0.5, 0.0, 255.0), np.uint8)

    def _close(self, patch: npt.NDArray[np.float32], closure: float) -> npt.NDArray[np.float32]:
        shape = self.shape
        drop = self.lid_drop(closure)
        edge = shape.upper + drop
        below_edge = np.maximum(shape.down - edge, 0.0)
        shadow = EYE_SHADOW * closure * np.exp(-below_edge / (EYE_SHADOW_REACH * shape.height))
        patch *= (1.0 - shadow * self._inner)[..., None]
        rise = LOWER_RISE * closure * shape.opening
        rise *= np.exp(-np.maximum(shape.down - shape.lower + rise, 0.0) / (0.25 * shape.width))
        lower_lid = self._shifted_down(self._base, -rise)
        cover = np.clip(0.5 + (shape.down - shape.lower + rise) / EDGE_PX, 0.0, 1.0) * (shape.opening > 0.0)
        patch += (lower_lid - patch) * cover[..., None]
        return patch + (self._upper_lid(drop, closure) - patch) * self._lid_cover(edge, closure)[..., None]

    def _upper_lid(self, drop: Plane, closure: float) -> npt.NDArray[np.float32]:
        shape = self.shape
        above_edge = np.maximum(shape.upper + drop - shape.down, 0.0)
        shade = 1.0 - LID_SHADE * closure * np.exp(-above_edge / (LID_SHADE_REACH * shape.width))
        crease = (shape.down - shape.upper + CREASE_ABOVE * shape.width) / (CREASE_WIDTH * shape.width)
        shade -= CREASE * closure * np.exp(-crease * crease) * self._presence
        line = (shape.down - shape.upper - drop - 0.3 * LASH_BELOW * shape.width) / (LASH_LINE_WIDTH * shape.width)
        shade *= 1.0 - LASH_LINE * closure * np.exp(-line * line) * self._presence
        lashes = self._shifted_down(self._ratio, drop)
        shade *= 1.0 + (lashes - 1.0) * (1.0 - LASH_CALM * closure)
        shades = np.stack([np.power(shade, exponent) for exponent in self._shade_exponents], axis=2)
        return np.asarray(self._skin * shades, np.float32)

    def _lid_cover(self, edge: Plane, closure: float) -> Plane:
        """Opacity of the upper lid."""
        shape = self.shape
        width = shape.width
        top = np.maximum(shape.upper - LID_TOP * width, shape.brow + BROW_MARGIN * width)
        from_top = np.clip((shape.down - top) / np.maximum(shape.upper - LASH_ABOVE * width - top, 1.0), 0.0, 1.0)
        from_top = from_top * from_top * (3.0 - 2.0 * from_top)
        to_edge = np.clip(0.5 + (edge + LASH_BELOW * width * self._presence - shape.down) / EDGE_PX, 0.0, 1.0)
        strength = min(1.0, closure / FULL_COVER_CLOSURE)
        return np.asarray(from_top * to_edge * self._presence * strength, np.float32)

    def _shifted_down(self, layer: Layer, shift: Plane) -> npt.NDArray[np.float32]:
        """The layer moved by `shift` along the eye's normal."""
        return self._moved(layer, shift * np.float32(self.shape.normal[0]), shift * np.float32(self.shape.normal[1]))

    def _moved(self, layer: Layer, shift_x: Plane, shift_y: Plane) -> npt.NDArray[np.float32]:
        map_x = np.asarray(self._x - shift_x, np.float32)  # remap needs float32
        map_y = np.asarray(self._y - shift_y, np.float32)
        moved = cv2.remap(layer, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)

    def _grain(self, base: npt.NDArray[np.float32], trust: Plane) -> npt.NDArray[np.float32]:
        """Fine texture of the cheek, for the lid: without it the lid looks like plastic."""
        shape = self.shape
        fine = (base - cv2.GaussianBlur(base, (0, 0), GRAIN_SIGMA * shape.width)) * trust[..., None]
        shift = np.full_like(shape.along, -GRAIN_SHIFT * shape.width - shape.height / 2.0)
        return np.asarray(GRAIN_GAIN * self._shifted_down(fine, shift), np.float32)


def _shade_exponents(skin: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """How much each channel darkens in the shade; all the same in a picture without colour."""
    colour = skin.mean(axis=(0, 1))
    chroma = float((colour.max() - colour.min()) / max(float(colour.max()), 1.0))
    warmth = min(chroma / COLOURFUL_SKIN, 1.0)
    return tuple(1.0 + (exponent - 1.0) * warmth for exponent in SHADE_EXPONENTS)


def _visibility(base: Picture, shape: EyeShape, face_light: float) -> float:
    """1 when the opening looks like an eye, 0 when it is hidden, e.g. by dark glasses."""
    opening = (shape.down > shape.upper) & (shape.down < shape.lower) & (np.abs(shape.along) < 0.5 * shape.width)
    if not opening.any():
        return 0.0
    grey = cv2.cvtColor(base, cv2.COLOR_BGR2GRAY)[opening] / max(face_light, 1.0)
    contrast = (float(grey.std()) - HIDDEN_CONTRAST) / (SEEN_CONTRAST - HIDDEN_CONTRAST)
    light = (float(np.percentile(grey, 95.0)) - HIDDEN_LIGHT) / (SEEN_LIGHT - HIDDEN_LIGHT)
    return float(np.clip(min(contrast, light), 0.0, 1.0))


def _skin_trust(base: Picture, shape: EyeShape, on_face: npt.NDArray[np.bool_]) -> Plane:
    """How surely a pixel shows plain skin: float32 (h, w) in [0, 1]."""
    width = shape.width
    lab = cv2.cvtColor(cv2.GaussianBlur(base, (0, 0), 1.2).astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB)
    beyond = np.maximum(np.abs(shape.along) / width - 0.5, 0.0) / UNTRUSTED_SIDE
    eye = (shape.down > shape.upper - UNTRUSTED_ABOVE * width) & (shape.down < shape.lower + UNTRUSTED_BELOW * width)
    allowed = on_face & ~(eye & (beyond < 1.0)) & (shape.down > shape.brow + BROW_MARGIN * width)
    cheek = allowed & (shape.down > shape.lower + CHEEK_BAND[0] * width)
    cheek &= (shape.down < shape.lower + CHEEK_BAND[1] * width) & (np.abs(shape.along) < 0.5 * width)
    if not cheek.any():
        cheek = allowed if allowed.any() else np.ones_like(allowed)
    reference = np.median(lab[cheek], axis=0)
    off = (lab - reference) * (LIGHTNESS_TRUST, 1.0, 1.0)
    distance = np.sqrt((off * off).sum(axis=2))
    tolerance = max(SKIN_TOLERANCE, 2.0 * float(np.median(distance[cheek])))
    doubt = np.maximum(distance - tolerance, 0.0) / tolerance
    trust = np.where(allowed, np.exp(-2.0 * doubt * doubt), 0.0)
    return np.asarray(cv2.GaussianBlur(trust, (0, 0), 1.0) * allowed, np.float32)


def _lash_ratio(
    base: npt.NDArray[np.float32], smooth: npt.NDArray[np.float32], shape: EyeShape, on_face: npt.NDArray[np.bool_]
) -> Plane:
    """Lightness over that of skin along the upper contour, 1 elsewhere: what rides down with the lid.

    Without colour, or a painted iris that begins at the contour would tint the lashes.
    """
    width = shape.width
    height = shape.down - shape.upper  # below 0 above the contour
    weight = np.clip(1.0 + (height + LASH_ABOVE * width) / (LASH_FADE_ABOVE * width), 0.0, 1.0)
    weight *= np.clip(1.0 - (height - LASH_BELOW * width) / (LASH_FADE_BELOW * width), 0.0, 1.0)
    weight *= np.clip(shape.opening / (0.40 * shape.height), 0.0, 1.0) * on_face
    ratio = cv2.cvtColor(base, cv2.COLOR_BGR2GRAY) / np.maximum(cv2.cvtColor(smooth, cv2.COLOR_BGR2GRAY), 1.0)
    return np.asarray(1.0 + (np.clip(ratio, DARKEST_RATIO, 1.0) - 1.0) * weight, np.float32)
