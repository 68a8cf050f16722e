"""`make fuzz` goes on until its time is over, and shows the file that broke something, however it broke."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
PIPE_BYTES = 1 << 16  # what a process can write before somebody reads
PATIENCE_S = 60.0


def fuzz(folder: Path, *arguments: str, workers: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            str(TESTS.parent / "tools" / "fuzz_media.py"),
            "--folder",
            str(folder),
            "--workers",
            str(workers),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(Path(__file__).parent)))},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def is_stout(content: bytes) -> None:
    """A reader that bears everything."""
    assert isinstance(content, bytes)


def is_picky(content: bytes) -> None:
    """A reader that fails for half of all files."""
    assert len(content) % 2 == 0, "a fault"


def is_frail(content: bytes) -> None:
    """A reader that takes its process down."""
    if len(content) % 2:
        os.kill(os.getpid(), signal.SIGKILL)


def is_talkative(_content: bytes) -> None:
    """A reader that complains a lot, once, and then waits until another worker has done so too."""
    meeting = Path("meeting")
    meeting.mkdir(exist_ok=True)
    here = meeting / str(os.getpid())
    if here.exists():
        return
    sys.stderr.write("x" * 2 * PIPE_BYTES)
    here.touch()
    give_up_s = time.monotonic() + PATIENCE_S
    while len(list(meeting.iterdir())) < 2:
        assert time.monotonic() < give_up_s, "the other worker stands still"
        time.sleep(0.01)


def test_it_reads_a_round_of_every_kind_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = fuzz(tmp_path, "--seconds", "0", "--reader", "test_fuzzing:is_stout")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.search(r"^(\d+) damaged files, no fault$", ended.stdout, re.MULTILINE)
    assert found
    assert int(found[1]) >= 300  # four rounds of about a hundred
    assert not list(tmp_path.iterdir())


def test_workers_go_on_beside_each_other_however_much_their_decoders_complain(tmp_path: Path) -> None:
    ended = fuzz(tmp_path / "found", "--seconds", "0", "--reader", "test_fuzzing:is_talkative", workers=2)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("no fault") == 2
    assert not list((tmp_path / "found").iterdir())


@pytest.mark.parametrize("reader", ["is_picky", "is_frail"])
def test_a_file_that_breaks_a_reader_is_shown_and_breaks_it_again(tmp_path: Path, reader: str) -> None:
    ended = fuzz(tmp_path, "--seconds", "60", "--reader", f"test_fuzzing:{reader}")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (kept,) = tmp_path.glob("*/damaged.bin")
    assert str(kept) in ended.stdout
    assert ("AssertionError: a fault" if reader == "is_picky" else "status -9") in ended.stdout
    printed = re.search(r"^base64: (\S+)$", ended.stdout, re.MULTILINE)
    assert printed
    assert base64.b64decode(printed[1]) == kept.read_bytes()
    assert len(kept.read_bytes()) % 2
    assert fuzz(tmp_path, "--again", str(kept), "--reader", f"test_fuzzing:{reader}").returncode != 0
