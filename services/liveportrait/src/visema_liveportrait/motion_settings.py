"""How a portrait moves, as the caller asked for it: the domain twin of `portrait.v1.MotionSettings`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Expression(enum.Enum):
    """Expressions that a video can hold; the value is part of object keys."""

    NEUTRAL = "neutral"
    WARM = "warm"
    SERIOUS = "serious"
    HAPPY = "happy"
    SAD = "sad"
    SURPRISED = "surprised"


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """Every setting of the motion; 0 turns a motion off.

    Attributes:
        blinks_per_minute: 0 to 40.
        blink_duration_ms: Length of one blink, 120 to 400; 0 turns blinks off.
        head_motion: Strength of head motion, 0 to 2; 1 is natural.
        breaths_per_minute: 4 to 40; 0 turns breathing off.
        breathing: Strength of breathing, 0 to 2.
        gaze_wander: How much the gaze wanders, 0 to 2.
        expression: Held during the whole video.
        expression_strength: 0 to 1.
        seed: Of everything random.
        loop: True repeats a seamless loop, False moves on for ever.
        speech_motion: How much the motion follows the speech, 0 to 2; a loop never does.
    """

    blinks_per_minute: float = 17.0
    blink_duration_ms: float = 270.0
    head_motion: float = 1.0
    breaths_per_minute: float = 16.0
    breathing: float = 1.0
    gaze_wander: float = 1.0
    expression: Expression = Expression.NEUTRAL
    expression_strength: float = 0.6
    seed: int = 1
    loop: bool = True
    speech_motion: float = 1.0

    @property
    def follows_speech(self) -> bool:
        """Whether the speech makes a difference."""
        return not self.loop and self.speech_motion > 0

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = float(getattr(self, name))
            if value != 0.0 and not low <= value <= high:  # NaN is refused too
                raise ValueError(f"{name} is {value:g}; it must be 0 or between {low:g} and {high:g}")


_RANGES = (
    ("blinks_per_minute", 0.0, 40.0),
    ("blink_duration_ms", 120.0, 400.0),
    ("head_motion", 0.0, 2.0),
    ("breaths_per_minute", 4.0, 40.0),
    ("breathing", 0.0, 2.0),
    ("gaze_wander", 0.0, 2.0),
    ("expression_strength", 0.0, 1.0),
    ("seed", 0.0, 2.0**32 - 1),
    ("speech_motion", 0.0, 2.0),
)
