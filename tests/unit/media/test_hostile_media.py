"""Files that want something: to fill the memory, to make us open other files, or to break a decoder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from support.damaged_media import (
    PICTURES,
    REFUSALS,
    SEGMENTS,
    SOUNDS,
    hear,
    look,
    mutated,
    read_every_way,
    replay,
)
from visema_kit.errors import MediaNotAllowed, MediaUnreadable, ObjectCorrupt
from visema_media.image import load_portrait
from visema_media.segments import SegmentCodec, read_segment
from visema_media.speech import decode_audio

MEBIBYTE = 1024 * 1024


# Memory

PEAK_OF_A_REFUSAL = """
import resource, sys
from pathlib import Path
from visema_kit.errors import ImageTooLarge
from visema_media.image import load_portrait

content = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_portrait(content)
except ImageTooLarge:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def grey_png(side_px: int) -> bytes:
    """A real PNG of one colour: large for whoever decodes it, small as a file."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(1)
    rows = bytes(100 * (side_px + 1))
    pixels = b"".join(packer.compress(rows) for _ in range(side_px // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_of_14000_by_14000_pixels_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(grey_png(14_000))
    assert path.stat().st_size < 5 * MEBIBYTE, "the limit for bytes must not be what refuses it"
    child = subprocess.run(
        [sys.executable, "-c", PEAK_OF_A_REFUSAL, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(child.stdout) * 1024 < 50 * MEBIBYTE


# Files that name others

IN_OPEN = 0x20


class Canaries:
    """A listener and a file that notice being connected to and opened."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "canary.wav"
        self.file.write_bytes(b"RIFF")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(self.file), IN_OPEN) >= 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/canary.ts"

    def sing(self) -> tuple[bool, bool]:
        """Whether since the last question somebody connected, and somebody opened the file."""
        connected = opened = False
        with contextlib.suppress(BlockingIOError):
            self.listener.accept()[0].close()
            connected = True
        with contextlib.suppress(BlockingIOError):
            opened = bool(os.read(self._watch, 4096))
        return connected, opened

    def close(self) -> None:
        self.listener.close()
        os.close(self._watch)


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    canaries = Canaries(tmp_path)
    yield canaries
    canaries.close()


def test_the_canaries_sing_for_a_decoder_without_rules(canaries: Canaries, tmp_path: Path) -> None:
    assert canaries.sing() == (False, False)
    for name, target in (("a.ffconcat", canaries.file), ("b.ffconcat", canaries.url)):
        playlist = tmp_path / name
        playlist.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
        options = {"safe": "0", "protocol_whitelist": "file,http,tcp", "timeout": "100000"}
        with contextlib.suppress(av.FFmpegError):
            av.open(str(playlist), format="concat", options=options, timeout=10).close()
    assert canaries.sing() == (True, True)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "hls-key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:1,\n{target}\n',
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "concat-plain": "file '{target}'\n",
    "dash": "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>{target}</BaseURL>"
    "</Representation></AdaptationSet></Period></MPD>",
    "svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='{target}'/></svg>",
    "svg-entity": "<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM '{target}'>]><svg>&x;</svg>",
    "smil": "<smil><body><audio src='{target}'/></body></smil>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={target}\nm=audio 9 RTP/AVP 0\n",
    "pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
}
DISGUISES = {  # what stands before the playlist, so that the first bytes look like a sound or a picture
    "none": b"",
    "bom": b"\xef\xbb\xbf",
    "wav": b"RIFF\xff\x00\x00\x00WAVE",
    "mp4": b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42",
    "mp3": b"ID3\x03\0\0\0\0\0\0",
    "ogg": b"OggS",
    "flac": b"fLaC",
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "matroska": b"\x1aE\xdf\xa3",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_refused_and_nothing_it_names_is_opened(canaries: Canaries, kind: str) -> None:
    for target in (canaries.url, str(canaries.file), f"file://{canaries.file}"):
        for disguise in DISGUISES.values():
            content = disguise + PLAYLISTS[kind].format(target=target).encode()
            with pytest.raises(REFUSALS):
                decode_audio(content)
            with pytest.raises(REFUSALS):
                load_portrait(content)
            with pytest.raises(ObjectCorrupt):
                read_segment(content)
    assert canaries.sing() == (False, False)


@pytest.mark.parametrize("text", ["hello", "a,b\n1,2\n" * 900, "#!/bin/sh\nrm -rf /\n", "{}", "\0" * 99, "ÿþ" * 500])
def test_text_with_the_name_of_a_sound_or_a_picture_is_refused(text: str) -> None:
    with pytest.raises((MediaUnreadable, MediaNotAllowed)):
        decode_audio(text.encode())
    with pytest.raises((MediaUnreadable, MediaNotAllowed)):
        load_portrait(text.encode())


# Damage; `make fuzz` does more of it


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sound_cut_off_anywhere_is_sound_or_a_refusal(kind: str) -> None:
    content = SOUNDS[kind]
    for length in {*range(0, min(len(content), 128), 3), *range(0, len(content), len(content) // 40)}:
        hear(content[:length])


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_cut_off_anywhere_is_refused(kind: str) -> None:
    content = PICTURES[kind]
    for length in range(0, len(content) * 9 // 10, 41):
        with pytest.raises(REFUSALS):
            load_portrait(content[:length])


def test_a_segment_of_an_unknown_codec_is_corrupt() -> None:
    """Found by mutation: PyAV has no decoder for it, and no error either."""
    content = SEGMENTS[SegmentCodec.JPEG_97.value]
    assert content.count(b"V_MJPEG") == 1
    with pytest.raises(ObjectCorrupt):
        read_segment(content.replace(b"V_MJPEG", b"V_XJPEG"))


@settings(max_examples=150, deadline=None)
@given(mutated(SOUNDS))
def test_a_mutated_sound_is_sound_or_a_refusal(content: bytes) -> None:
    hear(content)


@settings(max_examples=150, deadline=None)
@given(mutated(PICTURES))
def test_a_mutated_picture_is_a_picture_or_a_refusal(content: bytes) -> None:
    look(content)


@settings(max_examples=150, deadline=None)
@given(mutated(SEGMENTS))
def test_a_mutated_segment_is_frames_or_corrupt(content: bytes) -> None:
    replay(content)


@settings(max_examples=150, deadline=None)
@given(mutated(SOUNDS | PICTURES | SEGMENTS))
def test_a_file_of_any_kind_is_safe_with_every_reader(content: bytes) -> None:
    read_every_way(content)
