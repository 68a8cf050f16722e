"""Portrait pictures from outside."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from visema_kit.errors import ImageTooLarge, MediaNotAllowed, MediaUnreadable
from visema_media.image import BACKDROP_RGB, WARN_ALPHA, WARN_ANIMATED, WARN_PROFILE, load_portrait
from visema_media.limits import MediaLimits

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples"
RED, BLUE = (200, 30, 20), (20, 40, 210)


def halves(mode: str = "RGB", size: tuple[int, int] = (64, 40)) -> Image.Image:
    """A picture that is red on the left and blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, size[0], size[1]))
    return image.quantize(8) if mode == "P" else image.convert(mode)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def rgb_at(bgr: np.ndarray, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(level) for level in bgr[y, x, ::-1])


def near(colour: tuple[int, ...], wanted: tuple[int, ...], counts: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= counts


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("file_format", "counts"), [("PNG", 0), ("JPEG", 6), ("WEBP", 12)])
def test_accepted_formats_come_out_as_bgr(file_format: str, counts: int) -> None:
    portrait = load_portrait(encode(halves(), file_format))
    assert portrait.bgr.shape == (40, 64, 3)
    assert portrait.bgr.dtype == np.uint8
    assert portrait.bgr.flags.c_contiguous
    assert near(rgb_at(portrait.bgr, 8, 20), RED, counts)
    assert near(rgb_at(portrait.bgr, 56, 20), BLUE, counts)
    assert portrait.warnings == ()


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "ICO", "AVIF", "JPEG2000"])
def test_other_picture_formats_are_refused_by_content(file_format: str) -> None:
    with pytest.raises(MediaNotAllowed):
        load_portrait(encode(halves(), file_format))


@pytest.mark.parametrize(
    "content",
    [
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"  <svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        b"%PDF-1.7",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"ID3\x04\x00\x00\x00\x00\x00\x00",
        b"\x1aE\xdf\xa3",
    ],
)
def test_what_is_known_but_no_portrait_is_not_allowed(content: bytes) -> None:
    with pytest.raises(MediaNotAllowed):
        load_portrait(content)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]
)
def test_what_cannot_be_read_is_unreadable(content: bytes) -> None:
    with pytest.raises(MediaUnreadable):
        load_portrait(content)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_off_is_unreadable(file_format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    content = encode(noise, file_format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(MediaUnreadable):
            load_portrait(content[: int(len(content) * share)])


def test_a_huge_picture_is_refused_from_its_header() -> None:
    """The file has no such pixels: were they decoded, it would be unreadable instead."""
    with pytest.raises(ImageTooLarge) as caught:
        load_portrait(png_header(14_000, 14_000))
    assert caught.value.reason == "IMAGE_TOO_LARGE"
    with pytest.raises(ImageTooLarge):
        load_portrait(png_header(8_000, 5_001))
    with pytest.raises(MediaUnreadable):
        load_portrait(png_header(8_000, 5_000))


def test_size_limits_are_the_callers() -> None:
    content = encode(halves())
    with pytest.raises(ImageTooLarge):
        load_portrait(content, MediaLimits(image_bytes=len(content) - 1))
    with pytest.raises(ImageTooLarge):
        load_portrait(content, MediaLimits(image_pixels=64 * 40 - 1))
    assert load_portrait(content, MediaLimits(image_bytes=len(content), image_pixels=64 * 40)).bgr.size == 64 * 40 * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = halves()
    for operation in undo.get(orientation, []):
        stored = stored.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    portrait = load_portrait(encode(stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert portrait.bgr.shape == (40, 64, 3)
    assert near(rgb_at(portrait.bgr, 8, 20), RED)


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_colour_modes_keep_their_colours(mode: str) -> None:
    portrait = load_portrait(encode(halves(mode), "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"))
    assert near(rgb_at(portrait.bgr, 8, 20), RED, 10)
    assert near(rgb_at(portrait.bgr, 56, 20), BLUE, 10)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_pictures_without_colour_become_grey(mode: str) -> None:
    image = Image.new("L", (40, 40), 255).convert(mode)
    assert rgb_at(load_portrait(encode(image)).bgr, 20, 20) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    ramp = np.tile(np.linspace(0, 65_535, 256).astype(np.uint16), (32, 1))
    grey = load_portrait(encode(Image.fromarray(ramp))).bgr[16, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def test_sixteen_bit_colour_is_read() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 50_000, 20_000, 60_000) * 8 for _ in range(8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert near(rgb_at(load_portrait(png).bgr, 4, 4), (50_000 // 257, 20_000 // 257, 60_000 // 257), 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_show_the_backdrop(mode: str) -> None:
    image = halves("RGBA")
    image.paste((0, 0, 0, 0), (32, 0, 64, 40))
    portrait = load_portrait(encode(image.convert(mode)))
    assert rgb_at(portrait.bgr, 56, 20) == BACKDROP_RGB
    assert portrait.warnings == (WARN_ALPHA,)


def test_a_transparent_palette_colour_shows_the_backdrop() -> None:
    image = halves("P")
    portrait = load_portrait(encode(image, transparency=image.getpixel((56, 20))))
    assert rgb_at(portrait.bgr, 56, 20) == BACKDROP_RGB
    assert near(rgb_at(portrait.bgr, 8, 20), RED, 10)


def test_an_opaque_alpha_channel_is_no_reason_to_warn() -> None:
    assert load_portrait(encode(halves("RGBA"))).warnings == ()


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_animations_give_their_first_frame(file_format: str) -> None:
    content = encode(
        halves(), file_format, save_all=True, append_images=[Image.new("RGB", (64, 40), (0, 255, 0))], duration=100
    )
    portrait = load_portrait(content)
    assert near(rgb_at(portrait.bgr, 8, 20), RED, 12)
    assert portrait.warnings == (WARN_ANIMATED,)


def test_a_colour_profile_is_applied() -> None:
    """A profile whose red and blue primaries changed places must move the colours, an sRGB one must not."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = load_portrait(encode(halves(), icc_profile=srgb)).bgr
    assert rgb_at(plain, 8, 20) == RED
    swapped = bytearray(srgb)
    tags = {
        bytes(swapped[at : at + 4]): at for at in range(132, 132 + 12 * struct.unpack_from(">I", swapped, 128)[0], 12)
    }
    offsets = {name: bytes(swapped[tags[name] + 4 : tags[name] + 12]) for name in (b"rXYZ", b"bXYZ")}
    swapped[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12] = offsets[b"bXYZ"]
    swapped[tags[b"bXYZ"] + 4 : tags[b"bXYZ"] + 12] = offsets[b"rXYZ"]
    other = bytes(swapped).replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be")).replace(b"sRGB", b"odd!")
    red, _, blue = rgb_at(load_portrait(encode(halves(), icc_profile=other)).bgr, 8, 20)
    assert blue > 150 > red


def test_a_damaged_colour_profile_is_left_out_with_a_warning() -> None:
    portrait = load_portrait(encode(halves(), icc_profile=b"no profile" * 20))
    assert rgb_at(portrait.bgr, 8, 20) == RED
    assert portrait.warnings == (WARN_PROFILE,)


@settings(max_examples=150, deadline=None)
@given(
    file_format=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    position=st.floats(0, 1, exclude_max=True),
    patch=st.binary(min_size=1, max_size=12),
)
def test_damaged_files_give_pixels_or_a_documented_error(file_format: str, position: float, patch: bytes) -> None:
    content = bytearray(encode(halves("RGB"), file_format))
    at = int(position * len(content))
    content[at : at + len(patch)] = patch
    with contextlib.suppress(MediaUnreadable, MediaNotAllowed, ImageTooLarge):
        assert load_portrait(bytes(content), MediaLimits(image_pixels=1_000_000)).bgr.ndim == 3


@pytest.mark.skipif(not SAMPLES.exists(), reason="the shared samples are not here")
def test_the_sample_portraits_are_read() -> None:
    for path in sorted(SAMPLES.glob("portrait_*")):
        portrait = load_portrait(path.read_bytes())
        assert min(portrait.bgr.shape[:2]) >= 500
        assert portrait.warnings == ()
