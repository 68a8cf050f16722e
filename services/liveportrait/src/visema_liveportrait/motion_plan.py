"""The motion plan: what every frame of an animation shows, free of any engine and of any picture.

Both engines consume it, so the same seed and settings give the same motion whatever computes the pixels. A plan covers
a range of frames; `visema_liveportrait.motion_planner` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from visema_liveportrait.motion_settings import Expression

Series = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MotionPlan:
    """Motion of consecutive frames relative to the portrait; every array is float32 (N,).

    Directions are those of the picture: x to the right, y down. Left and right eye are the person's own.

    Attributes:
        yaw_deg: Above 0 turns the nose towards the right edge of the picture.
        pitch_deg: Above 0 turns the nose down.
        roll_deg: Above 0 tilts the head clockwise.
        shift_x: Shift of the head, share of the face height.
        shift_y: The same downwards.
        breath: How far the chest is filled, 0 (as in the portrait) to about 1.
        left_open: Openness of the left eye, 1 as in the portrait, 0 closed.
        right_open: The same of the right eye.
        brow_lift: How far the brows are raised, share of the face height.
        gaze_x_deg: Turn of the eyes in the head to the right of the picture.
        gaze_y_deg: The same downwards.
        expression_weight: Weight of `expression`, 0 to 1.
        expression: The expression that the weights belong to.
    """

    yaw_deg: Series
    pitch_deg: Series
    roll_deg: Series
    shift_x: Series
    shift_y: Series
    breath: Series
    left_open: Series
    right_open: Series
    brow_lift: Series
    gaze_x_deg: Series
    gaze_y_deg: Series
    expression_weight: Series
    expression: Expression

    def __post_init__(self) -> None:
        lengths = {len(series) for series in self.series().values()}
        if len(lengths) != 1:
            raise ValueError(f"series of different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.yaw_deg)

    def series(self) -> dict[str, Series]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "expression"}
