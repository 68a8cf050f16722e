"""What a video shall be: settings checked once, in the terms of the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from visema_kit.errors import InvalidInput

PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)
DEFAULT_CRF = 18
DEFAULT_PRESET = "veryfast"
DEFAULT_AUDIO_BITRATE_BPS = 128_000
SIDES_PX = (256, 1024)
FRAME_RATES = (Fraction(1), Fraction(60))  # 1024 × 1024 at 60 fps is well inside level 4.2
_CRF_MAX = 51
_BITRATES_BPS = (50_000, 50_000_000)  # High profile at level 4.2 ends at 62.5 Mbit/s
_AUDIO_BITRATES_BPS = (16_000, 320_000)
_STILLS_MAX = 16


@dataclass(frozen=True, slots=True)
class EncodingOptions:
    """How the video is encoded.

    Attributes:
        crf: Constant quality, 0 (lossless) to 51; unused where `bitrate_bps` is set.
        bitrate_bps: Average bit rate of the video; None for constant quality.
        preset: x264's speed preset.
        prefer_hardware: Use a hardware encoder where one opens.
        audio_bitrate_bps: Bit rate of the AAC audio.
        fragmented: Fragmented MP4 instead of one with the index at the front.
        still_frames: Frames to store as pictures, ascending, each once.
    """

    crf: int = DEFAULT_CRF
    bitrate_bps: int | None = None
    preset: str = DEFAULT_PRESET
    prefer_hardware: bool = False
    audio_bitrate_bps: int = DEFAULT_AUDIO_BITRATE_BPS
    fragmented: bool = False
    still_frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _within(self.crf, (0, _CRF_MAX), "crf")
        if self.bitrate_bps is not None:
            _within(self.bitrate_bps, _BITRATES_BPS, "bitrate_bps")
        _within(self.audio_bitrate_bps, _AUDIO_BITRATES_BPS, "audio_bitrate_bps")
        if self.preset not in PRESETS:
            raise InvalidInput(f"{self.preset!r} is not one of {', '.join(PRESETS)}.", field="open.settings.preset")
        if len(self.still_frames) > _STILLS_MAX:
            raise InvalidInput(f"At most {_STILLS_MAX} stills can be made.", field="open.settings.still_frames")


@dataclass(frozen=True, slots=True)
class VideoShape:
    """Size, rate and length of a video."""

    width_px: int
    height_px: int
    frame_rate: Fraction
    frame_count: int


def check_timeline(frame_rate: Fraction, frame_count: int, max_video_s: float, still_frames: tuple[int, ...]) -> None:
    """Raises: InvalidInput: the rate, the length or a still's position cannot be."""
    low, high = FRAME_RATES
    if not low <= frame_rate <= high:
        raise InvalidInput(f"{frame_rate} frames per second are not between {low} and {high}.", field="open.frame_rate")
    if not 1 <= frame_count <= max_video_s * frame_rate:
        raise InvalidInput(
            f"{frame_count} frames are not between 1 frame and {max_video_s:g} s.", field="open.frame_count"
        )
    if any(not 0 <= frame < frame_count for frame in still_frames):
        raise InvalidInput("A still lies outside the video.", field="open.settings.still_frames")


def check_size(width_px: int, height_px: int) -> None:
    """Raises: InvalidInput: the frames have a size that is not encoded."""
    low, high = SIDES_PX
    if not all(low <= side <= high and side % 2 == 0 for side in (width_px, height_px)):
        raise InvalidInput(
            f"Frames of {width_px} × {height_px} pixels are not even and between {low} and {high}.", field="segment"
        )


def _within(setting: int, bounds: tuple[int, int], name: str) -> None:
    if not bounds[0] <= setting <= bounds[1]:
        raise InvalidInput(
            f"{name} {setting} is not between {bounds[0]} and {bounds[1]}.", field=f"open.settings.{name}"
        )
