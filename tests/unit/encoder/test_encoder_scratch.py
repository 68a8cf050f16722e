"""Folders for files that are being written: they leave nothing behind, and a full disk has a name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from visema_encoder.scratch import remove_leftovers, video_folder
from visema_kit.errors import InvalidInput, ScratchFull

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from visema_encoder.scratch import video_folder
with video_folder(Path(sys.argv[1])) as folder:
    (folder / "video.mp4").write_bytes(b"half a video")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_goes_with_its_video(tmp_path: Path) -> None:
    with video_folder(tmp_path) as folder:
        (folder / "video.mp4").write_bytes(b"video")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_a_name(tmp_path: Path, number: int) -> None:
    with pytest.raises(ScratchFull) as caught, video_folder(tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.retryable
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken disk"), InvalidInput("wrong")])
def test_other_errors_pass_unchanged(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, video_folder(tmp_path):
        raise error
    assert caught.value is error


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path)], check=False, timeout=60)
    (tmp_path / "encode-notes").mkdir()  # somebody else's
    (tmp_path / f"encode-{os.getppid()}-x").mkdir()  # of a process that runs
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"encode-notes", f"encode-{os.getppid()}-x"}
