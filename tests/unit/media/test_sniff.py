"""Formats are told apart by content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from visema_media.limits import MediaLimits, SegmentLimits
from visema_media.sniff import MediaFormat, sniff


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"\xff\xfb\x90\x64", MediaFormat.MP3),
        (b"\xff\xf3\x40\xc0", MediaFormat.MP3),
        (b"\xff\xfb\xf0\x64", MediaFormat.UNKNOWN),  # no such bit rate
        (b"\xff\xf1\x50\x80", MediaFormat.OTHER_MEDIA),  # AAC
        (b"ID3\x03\0\0\0\0\0\x02xxfLaC", MediaFormat.FLAC),
        (b"ID3\x03\0\0\0\0\0\x02xx\xff\xf1\x50\x80", MediaFormat.OTHER_MEDIA),
        (b"RF64\0\0\0\0WAVE", MediaFormat.WAV),
        (b"RIFF\0\0\0\0AVI ", MediaFormat.OTHER_MEDIA),
        (b"\0\0\0\x20ftypisom", MediaFormat.MP4),
        (b"\0\0\0\x20ftypavif", MediaFormat.OTHER_IMAGE),
        (b"\xef\xbb\xbf<!-- x --><svg/>", MediaFormat.OTHER_IMAGE),
        (b"<html>", MediaFormat.OTHER_FILE),
    ],
)
def test_content_decides(content: bytes, wanted: MediaFormat) -> None:
    assert sniff(content) is wanted


@given(st.binary(max_size=64))
def test_any_content_has_an_answer(content: bytes) -> None:
    assert isinstance(sniff(content), MediaFormat)


@pytest.mark.parametrize("wrong", [{"image_bytes": 0}, {"audio_min_s": 0}, {"audio_min_s": 5, "audio_max_s": 4}])
def test_limits_that_allow_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        MediaLimits(**wrong)


def test_segment_limits_that_allow_nothing_are_refused() -> None:
    with pytest.raises(ValueError):
        SegmentLimits(frames=0)
