"""From a mouth pose to the lips' target lines: the shape of an opening mouth.

As the jaw drops, the corners follow a part of the way down and inwards, so the opening becomes round, never a V. A
smile holds the corners high and apart, and an opening hung between them would be a pointed crescent: the wider the
mouth opens, the more it lets go of them. A small opening parts the lips in the middle first. Rounding closes the sides
of the lips and thickens them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visema_wav2lip.engines.embedded.curves import bump, smooth_step
from visema_wav2lip.engines.embedded.geometry import Floats, LipContours
from visema_wav2lip.mouthplan import MouthPose

# All lengths in W, at full opening.
JAW_DROP = 0.245
_UPPER_LIFT = 0.048
_UPPER_RAISE = 0.038
_CORNER_DROP = 0.30  # of the jaw's drop at the lips
_CHIN_SHARE = 0.80  # of the lower lip's motion that the chin makes
_NARROW_BY_OPENING = 0.055
_SPREAD, _DRAW_IN = 0.085, 0.17
_PURSE_THICKNESS = 0.030
_PRESS_THINNING = 0.022
_PARTED_THINNING = 0.040  # a smile's stretched lips get thin when they close; less, and a gap seems to come and go
_PARTED_EASE = 0.12  # of full opening, over which that happens
_TUCK = 0.010  # of the lower lip under the teeth for f and v
_LIP_TEETH_LIFT = 0.058
_CLOSED_APERTURE, _ROUND_APERTURE = 0.80, 0.36
_ORDINARY_RISE = 0.066  # from the middle of the lips to the corners; a calm mouth has no more and opens round as it is
_SMILE_EASE = 1.1  # of full opening, over which a smile lets go of the corners: gently, wholly in the loudest vowels
# What letting go of the whole rise would bring; a broad open smile lets go of about half of it.
_SMILE_NARROWING = 0.15  # the corners come together again
_SMILE_ROUNDNESS = 2.0  # of the floor's power: the broad lower lip hangs evenly, not from its middle
_CORNER_REACH = 0.20  # W over which the cheek beside a corner follows it


@dataclass(frozen=True, slots=True)
class FaceProportions:
    """What scales the motion on this face.

    Attributes:
        jaw_gain: Narrow (painted) mouths still open by face height.
        chin: Local y of the chin; `nose`: of the nose base.
        parted: Whether the lips are parted in the reference picture.
        smile: Share of the lips' rise to the corners that a smile makes, see `smile_share`.
    """

    jaw_gain: float
    chin: float
    nose: float
    parted: bool
    smile: float


@dataclass(frozen=True, slots=True)
class LipTargets:
    """Where the lips are in one frame; tables are float32 (COLUMNS,) over the contours' `x`, in W.

    `upper` and `lower` are the inner edges; the shifts say how far inner and outer edges moved down from the reference.
    `narrowing` is the share by which the mouth's width changes at the corners (negative: narrower).
    """

    upper: Floats
    lower: Floats
    upper_inner_shift: Floats
    upper_outer_shift: Floats
    lower_inner_shift: Floats
    lower_outer_shift: Floats
    chin_shift: float
    narrowing: float
    middle: float
    jaw: float


def smile_share(contours: LipContours, closing: Floats) -> float:
    """How much of the rise from the lips' middle to the corners a smile makes: 0 for an ordinary mouth, below 1."""
    left, right = np.interp([-1.0, 1.0], contours.side, closing)
    rise = contours.at_middle(closing) - (left + right) / 2
    return float(max(0.0, 1 - _ORDINARY_RISE / max(rise, _ORDINARY_RISE)))


def lip_targets(pose: MouthPose, contours: LipContours, closing: Floats, face: FaceProportions) -> LipTargets:
    """Lip lines for `pose`; `closing` is where these lips meet."""
    opening = max(0.0, pose.opening)
    lip_teeth = pose.lip_teeth * (1.0 - pose.press)
    letting_go = face.smile * float(smooth_step(opening / _SMILE_EASE))
    jaw = JAW_DROP * face.jaw_gain * opening
    raised = _UPPER_LIFT * opening + _UPPER_RAISE * pose.upper_raise * min(1.0, 4 * opening)
    lift = face.jaw_gain * raised + _LIP_TEETH_LIFT * lip_teeth
    corner = _CORNER_DROP * jaw
    side = contours.side
    parting = float(smooth_step(opening / 0.55))
    aperture = _CLOSED_APERTURE + (1 - _CLOSED_APERTURE) * parting
    aperture *= 1 - _ROUND_APERTURE * pose.rounding * (1 - 0.35 * parting)
    middle = contours.at_middle(closing)
    across = side / np.float32(aperture)
    beside = np.exp(-((np.maximum(np.abs(contours.x) - 0.5, 0) / _CORNER_REACH) ** 2))
    floor = bump(across, 2.3 + _SMILE_ROUNDNESS * letting_go, 0.66 - 0.10 * pose.rounding)
    arch = bump(across, 2.0, 0.85)
    line = closing + np.float32(letting_go) * beside * (middle - closing)
    upper = line + beside * corner * (1 - arch) - lift * arch
    lower = line + beside * corner * (1 - floor) + jaw * floor
    lower = np.maximum(lower - _TUCK * lip_teeth * bump(side, 2.0, 0.8) * (opening < 1), upper)
    upper_shift, lower_shift = upper - contours.upper_inner, lower - contours.lower_inner
    lips = bump(contours.x / 0.56, 2.0, 0.7)
    thinning = _PRESS_THINNING * pose.press
    if face.parted:
        thinning = max(thinning, _PARTED_THINNING * float(1 - smooth_step(opening / _PARTED_EASE)) * (1 - lip_teeth))
    thicker = (_PURSE_THICKNESS * pose.rounding - thinning) * lips
    lower_middle = contours.at_middle(lower_shift)
    return LipTargets(
        upper=upper.astype(np.float32),
        lower=lower.astype(np.float32),
        upper_inner_shift=upper_shift.astype(np.float32),
        upper_outer_shift=(0.88 * upper_shift - 0.8 * thicker).astype(np.float32),
        lower_inner_shift=lower_shift.astype(np.float32),
        lower_outer_shift=(0.95 * lower_shift + thicker).astype(np.float32),
        chin_shift=_CHIN_SHARE * lower_middle,
        narrowing=(_SPREAD if pose.width > 0 else _DRAW_IN * 0.6) * pose.width
        - _DRAW_IN * 0.6 * pose.rounding
        - _NARROW_BY_OPENING * opening
        - _SMILE_NARROWING * letting_go,
        middle=middle + 0.4 * jaw,
        jaw=jaw,
    )
