"""Tells a file's format from its first bytes; names and declared types are never trusted."""

from __future__ import annotations

import enum

_HEAD_BYTES = 4096  # where the text formats put their first tag


class MediaFormat(enum.Enum):
    """A format that content can be told apart by; the value is its name for a person."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    WAV = "WAV"
    MP3 = "MP3"
    FLAC = "FLAC"
    OGG = "OGG"
    MP4 = "MP4"  # M4A is MP4 without a video stream
    OTHER_IMAGE = "another image format"
    OTHER_MEDIA = "another audio or video format"
    OTHER_FILE = "not a media file"
    UNKNOWN = "unknown"


PORTRAIT_FORMATS = frozenset({MediaFormat.JPEG, MediaFormat.PNG, MediaFormat.WEBP})
SPEECH_FORMATS = frozenset({MediaFormat.WAV, MediaFormat.MP3, MediaFormat.FLAC, MediaFormat.OGG, MediaFormat.MP4})

_PREFIXES: tuple[tuple[bytes, MediaFormat], ...] = (
    (b"\xff\xd8\xff", MediaFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", MediaFormat.PNG),
    (b"fLaC", MediaFormat.FLAC),
    (b"OggS", MediaFormat.OGG),
    (b"GIF87a", MediaFormat.OTHER_IMAGE),
    (b"GIF89a", MediaFormat.OTHER_IMAGE),
    (b"BM", MediaFormat.OTHER_IMAGE),
    (b"II*\x00", MediaFormat.OTHER_IMAGE),  # TIFF and most raw formats
    (b"MM\x00*", MediaFormat.OTHER_IMAGE),
    (b"II+\x00", MediaFormat.OTHER_IMAGE),  # BigTIFF
    (b"MM\x00+", MediaFormat.OTHER_IMAGE),
    (b"8BPS", MediaFormat.OTHER_IMAGE),  # Photoshop
    (b"\x00\x00\x01\x00", MediaFormat.OTHER_IMAGE),  # icon
    (b"\x00\x00\x00\x0cjP  ", MediaFormat.OTHER_IMAGE),  # JPEG 2000
    (b"\xff\x4f\xff\x51", MediaFormat.OTHER_IMAGE),  # JPEG 2000 code stream
    (b"\xff\x0a", MediaFormat.OTHER_IMAGE),  # JPEG XL code stream
    (b"\x00\x00\x00\x0cJXL ", MediaFormat.OTHER_IMAGE),
    (b"\x76\x2f\x31\x01", MediaFormat.OTHER_IMAGE),  # OpenEXR
    (b"#?RADIANCE", MediaFormat.OTHER_IMAGE),
    (b"qoif", MediaFormat.OTHER_IMAGE),
    (b"\x1aE\xdf\xa3", MediaFormat.OTHER_MEDIA),  # Matroska, WebM
    (b"FORM", MediaFormat.OTHER_MEDIA),  # AIFF
    (b"#!AMR", MediaFormat.OTHER_MEDIA),
    (b"caff", MediaFormat.OTHER_MEDIA),
    (b".snd", MediaFormat.OTHER_MEDIA),
    (b"0&\xb2u\x8ef\xcf\x11", MediaFormat.OTHER_MEDIA),  # ASF: WMA, WMV
    (b"FLV\x01", MediaFormat.OTHER_MEDIA),
    (b"MThd", MediaFormat.OTHER_MEDIA),  # MIDI
    (b"wvpk", MediaFormat.OTHER_MEDIA),
    (b"MAC ", MediaFormat.OTHER_MEDIA),
    (b"#EXTM3U", MediaFormat.OTHER_MEDIA),  # playlists name further files
    (b"ffconcat", MediaFormat.OTHER_MEDIA),
    (b"%PDF", MediaFormat.OTHER_FILE),
    (b"%!PS", MediaFormat.OTHER_FILE),
    (b"PK\x03\x04", MediaFormat.OTHER_FILE),
    (b"\x1f\x8b", MediaFormat.OTHER_FILE),
    (b"7z\xbc\xaf", MediaFormat.OTHER_FILE),
    (b"MZ", MediaFormat.OTHER_FILE),
    (b"\x7fELF", MediaFormat.OTHER_FILE),
)
_RIFF_FORMS = {b"WEBP": MediaFormat.WEBP, b"WAVE": MediaFormat.WAV, b"AVI ": MediaFormat.OTHER_MEDIA}
_STILL_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avif", b"avis", b"crx "}
)
_MARKUP_STARTS = (b"<?xml", b"<svg", b"<!doctype", b"<html", b"<mpd", b"<smil", b"<!--")


def sniff(content: bytes) -> MediaFormat:
    """The format of a file by its content."""
    for prefix, media_format in _PREFIXES:
        if content.startswith(prefix):
            return media_format
    if content[:4] in {b"RIFF", b"RF64", b"RIFX"}:
        return _RIFF_FORMS.get(content[8:12], MediaFormat.OTHER_FILE)
    if content[4:8] == b"ftyp":
        return MediaFormat.OTHER_IMAGE if content[8:12] in _STILL_BRANDS else MediaFormat.MP4
    if content.startswith(b"ID3"):
        return _behind_id3(content)
    if _is_mpeg_audio_frame(content):
        return MediaFormat.MP3
    return _other_text_or_stream(content)


def _behind_id3(content: bytes) -> MediaFormat:
    """Skip an ID3v2 tag, whose size is 4 bytes of 7 bits; FLAC and AAC carry one too."""
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 0x7F
    body = content[10 + size :]
    if body.startswith(b"fLaC"):
        return MediaFormat.FLAC
    return MediaFormat.OTHER_MEDIA if _is_adts_frame(body) else MediaFormat.MP3


def _is_mpeg_audio_frame(content: bytes) -> bool:
    """Whether an MPEG layer III frame header stands at the start: sync word, layer and rates are valid."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return False
    version, layer = content[1] >> 3 & 3, content[1] >> 1 & 3
    bit_rate, sample_rate = content[2] >> 4, content[2] >> 2 & 3
    return version != 1 and layer == 1 and bit_rate not in {0, 15} and sample_rate != 3  # noqa: PLR2004


def _is_adts_frame(content: bytes) -> bool:
    """Whether an AAC frame header stands at the start: the layer bits are 0, which MPEG audio never uses."""
    return len(content) > 1 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0  # noqa: PLR2004


def _other_text_or_stream(content: bytes) -> MediaFormat:
    """Recognise what has no magic number at its start, so that the refusal can name a reason."""
    if _is_adts_frame(content):
        return MediaFormat.OTHER_MEDIA
    head = content[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(_MARKUP_STARTS):
        return MediaFormat.OTHER_IMAGE if b"<svg" in head else MediaFormat.OTHER_FILE
    return MediaFormat.UNKNOWN
