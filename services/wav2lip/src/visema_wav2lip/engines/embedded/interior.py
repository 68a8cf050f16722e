"""What is seen between parted lips: the dark, the tongue, both rows of teeth and the lips' moist inner rims.

Everything is painted per pixel of the opening, softened as the portrait's own edges are. Upper teeth stay with the
skull, tongue and lower teeth with the jaw; both shift against the lips when the head turns, as they lie behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.embedded.curves import smooth_step
from visema_wav2lip.engines.embedded.geometry import HALF_SPAN, Floats, LipContours
from visema_wav2lip.engines.embedded.palette import Palette
from visema_wav2lip.engines.embedded.pose import LipTargets
from visema_wav2lip.engines.embedded.teeth import TeethTexture
from visema_wav2lip.engines.embedded.warp import WarpedRegion
from visema_wav2lip.mouthplan import MouthPose

_TEETH_DEPTH = 0.10  # of the nose tip's motion against the ears: the teeth lie about that much behind the lips
_CAVITY_DEPTH = 0.22
_FULL_GAP_PX = 2.4  # an opening of this height shows its interior undimmed; a hairline shows none
_LIP_SHADOW = 0.055  # W, reach of the upper lip's shadow on the teeth
_SLIT, _SLIT_LIGHT = 0.07, 0.38  # W, an opening that lets in all the light; share that a mere slit lets in
_CONTACT = 0.030  # W, reach of the darkening where something lies behind a lip's edge
_SEAM_TINT = np.array([0.30, 0.28, 0.42], np.float32)  # of the lip's colour, where lips meet
_VISIBLE_ALPHA = 0.004  # one grey level of a bright interior


@dataclass(frozen=True, slots=True)
class Interior:
    """Paints the interior of one portrait's mouth."""

    contours: LipContours
    palette: Palette
    teeth: TeethTexture
    parted: bool

    def paint(
        self,
        region: WarpedRegion,
        lips: LipTargets,
        pose: MouthPose,
        depth_shift: tuple[float, float],
        pixel: float,
    ) -> None:
        """Paint over `region.pixels` in place; `pixel` is the size of a pixel in W."""
        if self.parted:
            self._draw_seam(region, pixel)
        gap = region.lower - region.upper
        edge = max(1.3, 1.15 * self.palette.softness_px) * pixel
        cover = np.clip((region.y - region.upper) / edge + 0.5, 0, 1)
        cover *= np.clip((region.lower - region.y) / edge + 0.5, 0, 1)
        cover *= np.clip(gap / (_FULL_GAP_PX * pixel) - 0.15, 0, 1)
        window = _bounds(cover > _VISIBLE_ALPHA)
        if window is None:
            return
        opening = _Opening(
            x=region.x[window],
            y=region.y[window],
            source_x=region.source_x[window],
            upper=region.upper[window],
            lower=region.lower[window],
        )
        colour = self._colour(opening, lips, pose, depth_shift, pixel)
        alpha = cover[window][..., None]
        target = region.pixels[window]
        mixed = target + (colour - target) * alpha
        target[...] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)

    def _colour(
        self,
        at: _Opening,
        lips: LipTargets,
        pose: MouthPose,
        depth_shift: tuple[float, float],
        pixel: float,
    ) -> Floats:
        palette = self.palette
        gap = np.maximum(at.lower - at.upper, pixel)
        depth = np.clip((at.y - at.upper) / gap, 0, 1)
        side = self._side_of(at.source_x)
        outward = np.minimum(np.abs(side), 1.2)
        # Cavity: darkest under the palate, light falls on its floor; the cheeks close it to the sides.
        colour = palette.cavity * (0.62 + 0.85 * depth**2)[..., None]
        colour = colour * (1 - 0.45 * smooth_step((outward - 0.45) / 0.5))[..., None]
        colour = self._add_tongue(colour, at, lips, pose, depth_shift)
        colour = self._add_lower_teeth(colour, at, lips, pose, side)
        colour = self._add_upper_teeth(colour, at, pose, depth_shift)
        # Contact: whatever lies right behind a lip is in its shade.
        near = np.minimum(at.y - at.upper, 1.5 * (at.lower - at.y))
        colour = colour * (0.80 + 0.20 * smooth_step(near / np.minimum(_CONTACT, 0.3 * gap)))[..., None]
        return self._add_rims(np.asarray(colour, np.float32), at, gap, outward)

    def _side_of(self, source_x: Floats) -> Floats:
        place = (source_x + np.float32(HALF_SPAN)) * np.float32((len(self.contours.x) - 1) / (2 * HALF_SPAN))
        return np.asarray(self.contours.side[np.clip(place.astype(np.int32), 0, len(self.contours.x) - 1)])

    def _add_tongue(
        self,
        colour: Floats,
        at: _Opening,
        lips: LipTargets,
        pose: MouthPose,
        depth_shift: tuple[float, float],
    ) -> Floats:
        """A low dome on the floor of an open mouth, lit from above, darker in the groove."""
        amount = float(smooth_step((lips.jaw - 0.05) / 0.12)) * (1 - 0.5 * pose.rounding)
        if amount <= 0:
            return colour
        across = (self._side_of(at.source_x - np.float32(_CAVITY_DEPTH * depth_shift[0]))) / np.float32(0.66)
        height = np.float32(0.40 * lips.jaw) * (1 - np.clip(across * across, 0, 1))
        below_top = (at.y - (at.lower - height)) / np.float32(max(0.25 * lips.jaw, 0.02))
        shape = smooth_step(below_top + 0.35) * (1 - smooth_step((np.abs(across) - 0.55) / 0.5))
        light = 0.80 + 0.42 * np.exp(-((below_top - 0.75) ** 2) / 0.35) - 0.10 * np.exp(-((across / 0.16) ** 2))
        tongue = self.palette.tongue * light[..., None]
        return np.asarray(colour + (tongue - colour) * (0.9 * amount * shape)[..., None], np.float32)

    def _add_lower_teeth(self, colour: Floats, at: _Opening, lips: LipTargets, pose: MouthPose, side: Floats) -> Floats:
        """Their edges show above the lower lip when the lips are spread."""
        amount = (
            float(np.clip(0.25 + 0.75 * pose.width, 0, 1)) * float(smooth_step(lips.jaw / 0.06)) * (1 - pose.rounding)
        )
        if amount <= 0:
            return colour
        rise = np.float32(0.034) * (1 - 0.8 * side * side)
        shape = smooth_step((at.y - (at.lower - rise)) / np.float32(0.026)) * (
            1 - smooth_step((np.abs(side) - 0.45) / 0.35)
        )
        joints = 1 - 0.16 * np.exp(-(((np.abs((np.abs(side) / 0.2) % 1 - 0.5) - 0.5) / 0.10) ** 2))
        tooth = self.palette.tooth * (0.66 * joints * (1 - 0.4 * np.abs(side)))[..., None]
        return np.asarray(colour + (tooth - colour) * (0.75 * amount * shape)[..., None], np.float32)

    def _add_upper_teeth(
        self, colour: Floats, at: _Opening, pose: MouthPose, depth_shift: tuple[float, float]
    ) -> Floats:
        """Texture in skull coordinates; across, it follows the narrowing of the lips half-way.

        A slit between closing lips is dark; for `f` the teeth come forward into the light.
        """
        x = np.float32(0.5) * (at.x + at.source_x) + np.float32(_TEETH_DEPTH * depth_shift[0])
        texture, alpha = self.teeth.sample(x, at.y + np.float32(_TEETH_DEPTH * depth_shift[1]))
        least = 0.85 if self.teeth.own else 0.60
        gap = at.lower - at.upper
        shadow = np.minimum(_LIP_SHADOW, 0.5 * gap + 0.005)  # little shade fits in a small opening
        shade = least + (1 - least) * smooth_step((at.y - at.upper + 0.01) / shadow)
        lit = np.maximum(smooth_step(gap / _SLIT), np.float32(pose.lip_teeth))
        shade = shade * (_SLIT_LIGHT + (1 - _SLIT_LIGHT) * lit)
        return np.asarray(colour + (texture * shade[..., None] - colour) * alpha, np.float32)

    def _add_rims(self, colour: Floats, at: _Opening, gap: Floats, outward: Floats) -> Floats:
        """The lips' wet inner sides instead of a cut-out edge: broad below, narrow above, meeting at the corners."""
        below = 0.85 * np.exp(-np.maximum(at.lower - at.y, 0) / (0.010 + 0.045 * np.minimum(gap, 0.3)))
        above = 0.60 * np.exp(-np.maximum(at.y - at.upper, 0) / 0.013)
        corner = 0.55 * smooth_step((outward - 0.72) / 0.3)
        rim = np.maximum(np.maximum(below, above), corner)
        flesh = self.palette.lip * np.array([0.56, 0.55, 0.66], np.float32)
        return np.asarray(colour + (flesh - colour) * rim[..., None], np.float32)

    def _draw_seam(self, region: WarpedRegion, pixel: float) -> None:
        """Lips that are parted in the photo have no dark line where they meet: draw it where they touch."""
        touching = np.clip(1 - (region.lower - region.upper) / (1.5 * pixel), 0, 1)
        touching *= smooth_step((0.5 - np.abs(region.source_x)) / 0.08)
        line = np.exp(
            -(((region.y - (region.upper + region.lower) / 2) / (1.2 * self.palette.softness_px * pixel)) ** 2)
        )
        alpha = 0.55 * touching * line
        window = _bounds(alpha > _VISIBLE_ALPHA)
        if window is None:
            return
        target = region.pixels[window]
        mixed = target + (self.palette.lip * _SEAM_TINT - target) * alpha[window][..., None]
        target[...] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Opening:
    """Local coordinates and lip edges of the pixels that may show the interior, float32 (h, w) each."""

    x: Floats
    y: Floats
    source_x: Floats
    upper: Floats
    lower: Floats


def _bounds(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Smallest window that holds all True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
