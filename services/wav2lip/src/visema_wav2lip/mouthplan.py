"""Mouth plan: what the mouth does in each frame, whoever draws it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MouthPlan:
    """Mouth motion of a whole clip, one value per frame.

    Attributes:
        opening: float32 (N,), 0 closed to 1 as open as loud speech gets.
        width: float32 (N,), -1 drawn in (`u`) to 1 spread (`i`).
        rounding: float32 (N,), 0 to 1, lips pursed forward (`o`, `u`).
        press: float32 (N,), 0 to 1, lips pressed together (`p`, `b`, `m`); 1 means fully shut.
        lip_teeth: float32 (N,), 0 to 1, lower lip against the upper teeth (`f`, `v`).
        upper_raise: float32 (N,), 0 to 1, upper lip lifted off the teeth.
        speech: float32 (N,), 0 silence to 1 speech.
    """

    opening: Curve
    width: Curve
    rounding: Curve
    press: Curve
    lip_teeth: Curve
    upper_raise: Curve
    speech: Curve

    def __post_init__(self) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if shapes != {(len(self.opening),)}:
            raise ValueError(f"curves of a mouth plan have the shapes {sorted(shapes)}")

    def __len__(self) -> int:
        return len(self.opening)

    def pose(self, frame: int) -> MouthPose:
        """What the mouth does in one frame. Raises: IndexError: no such frame."""
        return MouthPose(*(float(getattr(self, field.name)[frame]) for field in fields(self)))

    def scaled(self, strength: float) -> MouthPlan:
        """Motion times `strength`; closures and the speech gate stay as they are."""
        gain = np.float32(strength)
        return replace(
            self,
            opening=np.clip(self.opening * gain, 0.0, 1.5),
            width=np.clip(self.width * gain, -1.0, 1.0),
            rounding=np.clip(self.rounding * gain, 0.0, 1.0),
            upper_raise=np.clip(self.upper_raise * gain, 0.0, 1.0),
        )

    @classmethod
    def silent(cls, frame_count: int) -> MouthPlan:
        """A mouth that stays shut."""
        return cls(*(np.zeros(frame_count, np.float32) for _ in fields(cls)))


@dataclass(frozen=True, slots=True)
class MouthPose:
    """One frame of a `MouthPlan`; same names, same ranges."""

    opening: float
    width: float
    rounding: float
    press: float
    lip_teeth: float
    upper_raise: float
    speech: float

    @property
    def at_rest(self) -> bool:
        """True when nothing moves: a closed photo is then left untouched."""
        moved = abs(self.width) + self.rounding + self.press + self.lip_teeth + self.upper_raise
        return self.opening < _STILL and moved < _STILL


_STILL = 1e-3  # far below a tenth of a pixel for any mouth that fits a frame
