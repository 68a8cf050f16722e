"""Reads a portrait picture from outside into plain BGR pixels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from visema_kit.errors import ImageTooLarge, MediaNotAllowed, MediaUnreadable

from visema_media.limits import MediaLimits
from visema_media.sniff import PORTRAIT_FORMATS, MediaFormat, sniff

BACKDROP_RGB = (216, 218, 222)  # what shows through transparent pixels: a soft, slightly cool grey
WARN_ALPHA = "The picture is partly transparent; a neutral background was put behind it."
WARN_ANIMATED = "The picture is animated; its first frame was used."
WARN_EXIF = "The picture's EXIF block is damaged; it was not rotated."
WARN_PROFILE = "The picture's colour profile is damaged; its colours were taken as sRGB."

_PILLOW_NAMES = {MediaFormat.JPEG: "JPEG", MediaFormat.PNG: "PNG", MediaFormat.WEBP: "WEBP"}
_BROKEN = (  # what Pillow's readers raise on damaged files, beside its own error, which is an OSError
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
_SIXTEEN_TO_EIGHT = 257  # 65535 / 255


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture as pixels.

    Attributes:
        bgr: uint8 (H, W, 3), upright, sRGB.
        warnings: Things that a person should know.
    """

    bgr: npt.NDArray[np.uint8]
    warnings: tuple[str, ...] = ()


def load_portrait(content: bytes, limits: MediaLimits | None = None) -> Portrait:
    """Decode a JPEG, PNG or WebP file; its size is checked before any pixel is decoded.

    Raises:
        ImageTooLarge: More bytes or pixels than the limits allow.
        MediaNotAllowed: Another format.
        MediaUnreadable: Damaged, cut off, or of no known format.
    """
    limits = limits or MediaLimits()
    if len(content) > limits.image_bytes:
        raise ImageTooLarge(
            f"The picture has {len(content)} bytes; at most {limits.image_bytes} are accepted.",
            metadata={"limit_bytes": str(limits.image_bytes), "size_bytes": str(len(content))},
        )
    media_format = _portrait_format(content)
    try:
        with _open(content, media_format) as image:
            _check_size(image.size, limits)
            notes: list[str] = []
            if media_format is not MediaFormat.JPEG and getattr(image, "n_frames", 1) > 1:
                notes.append(WARN_ANIMATED)
            image.load()
            rgb = _to_srgb(_upright(image, notes), notes)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        raise ImageTooLarge("The picture has more pixels than can be decoded safely.") from err
    except UnidentifiedImageError as err:
        raise MediaUnreadable(f"The file begins like a {media_format.value} picture but is none.") from err
    except _BROKEN as err:
        raise MediaUnreadable(f"The {media_format.value} picture is damaged or cut off.") from err
    return Portrait(np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1]), tuple(notes))


def _portrait_format(content: bytes) -> MediaFormat:
    """Raises: MediaNotAllowed, MediaUnreadable: the content is no JPEG, PNG or WebP."""
    media_format = sniff(content)
    if media_format is MediaFormat.UNKNOWN:
        raise MediaUnreadable("The file is no picture that can be read; send JPEG, PNG or WebP.")
    if media_format not in PORTRAIT_FORMATS:
        raise MediaNotAllowed(
            f"The file is {media_format.value}; a portrait must be JPEG, PNG or WebP.",
            metadata={"format": media_format.name},
        )
    return media_format


def _open(content: bytes, media_format: MediaFormat) -> Image.Image:
    """Read the header only, with the one reader that fits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller's limit decides
        return Image.open(io.BytesIO(content), formats=[_PILLOW_NAMES[media_format]])


def _check_size(size: tuple[int, int], limits: MediaLimits) -> None:
    width, height = size
    if width * height > limits.image_pixels:
        raise ImageTooLarge(
            f"The picture has {width} × {height} pixels; at most {limits.image_pixels} in all are accepted.",
            metadata={"limit_pixels": str(limits.image_pixels), "width": str(width), "height": str(height)},
        )


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """Apply the EXIF orientation."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:
        notes.append(WARN_EXIF)
        return image


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Any pixel mode to 8-bit sRGB without transparency."""
    if image.mode.startswith("I;16") or image.mode == "I":
        levels = np.asarray(image, dtype=np.float32) / _SIXTEEN_TO_EIGHT
        image = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    profile = image.info.get("icc_profile")
    has_alpha = image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info
    if has_alpha:
        image = _over_backdrop(image.convert("RGBA"), notes)
    elif image.mode not in {"RGB", "CMYK", "L"}:
        image = image.convert("RGB")
    if profile:
        image = _apply_profile(image, profile, notes)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_backdrop(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    notes.append(WARN_ALPHA)
    backdrop = Image.new("RGBA", image.size, (*BACKDROP_RGB, 255))
    return Image.alpha_composite(backdrop, image).convert("RGB")


def _apply_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Convert to sRGB; a profile that is sRGB, of another colour space than the pixels, or damaged is left out."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in (source.profile.profile_description or "").lower():
            return image
        spaces = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}
        if spaces.get(source.profile.xcolor_space.strip()) != image.mode:
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append(WARN_PROFILE)
        return image
    return converted or image
