"""How large the media may be that come from outside."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bounds on pictures and audio; the defaults are the service's.

    Attributes:
        image_bytes: Largest picture file.
        image_pixels: Largest width times height of a picture.
        audio_bytes: Largest audio file.
        audio_min_s: Shortest audio, inclusive.
        audio_max_s: Longest audio, inclusive.
    """

    image_bytes: int = 5 * MEBIBYTE
    image_pixels: int = 40_000_000
    audio_bytes: int = 25 * MEBIBYTE
    audio_min_s: float = 0.2
    audio_max_s: float = 60.0

    def __post_init__(self) -> None:
        if min(self.image_bytes, self.image_pixels, self.audio_bytes) <= 0:
            raise ValueError("media limits must be above 0")
        if not 0 < self.audio_min_s <= self.audio_max_s:
            raise ValueError(f"audio limits {self.audio_min_s} to {self.audio_max_s} s make no range")


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """Bounds on a segment that another stage wrote.

    Attributes:
        frames: Most frames of one segment.
        side_px: Largest width and height of a frame.
    """

    frames: int = 500
    side_px: int = 1024

    def __post_init__(self) -> None:
        if min(self.frames, self.side_px) <= 0:
            raise ValueError("segment limits must be above 0")
