"""The folder for files that are being written: one for each video, gone with it, and with a process that was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visema_kit.scratch import room_on

_PREFIX = "encode-"  # then the process id, so that a later process knows whose it was


@contextmanager
def video_folder(scratch: Path) -> Iterator[Path]:
    """A folder while the block runs. Raises: ScratchFull: what the block writes does not fit."""
    with (
        room_on("the encoder's disk"),
        tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=scratch) as folder,
    ):
        yield Path(folder)


def remove_leftovers(scratch: Path) -> None:
    """Remove the folders of processes that were killed. Call it before the first video."""
    for folder in scratch.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and (int(owner) == os.getpid() or not _runs(int(owner))):  # in a container all are number 1
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    with suppress(PermissionError):  # another user's process runs
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
