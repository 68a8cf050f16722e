"""Feeds damaged media to every reader until the time is over: `make fuzz`.

    PYTHONPATH=tests python tools/fuzz_media.py [--seconds 60] [--folder out/fuzz]    search
    PYTHONPATH=tests python tools/fuzz_media.py --again FILE    read a file again that was found

Each worker is a process. It goes from reader to reader in rounds, each with a seed of its own, and writes every file
down before it is read: what ends the process, or never comes back, is known as well as what raises.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from support.damaged_media import PICTURES, SEGMENTS, SOUNDS, hear, look, mutated, read_every_way, replay

ROUND = settings(
    max_examples=100,
    deadline=None,  # a slow machine is no fault
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a few accidents need no shrinking, which can take minutes
    print_blob=False,  # the file itself is printed
)
HANG_S = 300.0  # after the end for the file that is being read; then it counts as never coming back
READERS = {"sounds": (SOUNDS, hear), "pictures": (PICTURES, look), "segments": (SEGMENTS, replay)}
EVERYTHING = SOUNDS | PICTURES | SEGMENTS
PRINTED_BYTES = 64 * 1024
PRINTED_LINES, PRINTED_COLUMNS = 100, 300  # of what a worker says: it may show a file in full
DECODERS_SAY = "Corrupt JPEG data"

Reader = Callable[[bytes], None]


def work(end_s: float, note: Path, other: Reader | None) -> int:
    """Read damaged files until `end_s` of the machine's monotonic clock, at least one round of each kind.

    Args: note: Where each file is written down. other: A reader instead of ours.
    Returns: how many files were read.
    """
    kinds = [*READERS.values(), (EVERYTHING, read_every_way)]
    read = turn = 0
    while turn < len(kinds) or time.monotonic() < end_s:
        seeds, reader = kinds[turn % len(kinds)]
        read += one_round(mutated(seeds), other or reader, note)
        turn += 1
    note.unlink()
    return read


def one_round(files: SearchStrategy[bytes], reader: Reader, note: Path) -> int:
    """Read about a hundred files with a seed of their own. Returns: how many."""
    read = 0

    @ROUND
    @given(files)
    def check(content: bytes) -> None:
        nonlocal read
        note.write_bytes(content)
        reader(content)
        read += 1

    check()
    return read


def search(seconds: float, folder: Path, workers: int, other: str = "") -> int:
    """Let workers search. Returns: exit status, 0 when nothing was found. Prints what was read or found."""
    folder.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + seconds
    notes = [Path(tempfile.mkdtemp(dir=folder)) / "damaged.bin" for _ in range(workers)]
    running = [start(end_s, note, other) for note in notes]
    failed = 0
    for worker, note in zip(running, notes, strict=True):
        came_back = True
        try:
            output, _ = worker.communicate(timeout=max(end_s - time.monotonic(), 0) + HANG_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            output, _ = worker.communicate()
            came_back = False
        print(output, end="", flush=True)
        said = complaints(note)
        if worker.returncode:
            failed += 1
            report(said.read_text(errors="replace"), worker.returncode, note, came_back=came_back)
        said.unlink()
        if not worker.returncode:
            note.parent.rmdir()
    return int(failed > 0)


def start(end_s: float, note: Path, other: str) -> subprocess.Popen[str]:
    """Start a worker. What it complains of goes into a file: nobody reads a pipe before the worker's turn has come."""
    with complaints(note).open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", __file__, "--worker", str(end_s), str(note), other],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            errors="replace",
        )


def complaints(note: Path) -> Path:
    """Where a worker's standard error goes: its decoders write a line for many a file."""
    return note.with_name("complaints.txt")


def report(errors: str, status: int, note: Path, *, came_back: bool) -> None:
    """Print what a worker said, and the file that it read last."""
    lines = [line[:PRINTED_COLUMNS] for line in errors.splitlines() if not line.startswith(DECODERS_SAY)]
    print(*lines[-PRINTED_LINES:], f"A worker ended with status {status}.", sep="\n")
    if not came_back:
        print("It did not come back from this file.")
    if not note.exists():
        print("It had not read a file yet.")
        return
    content = note.read_bytes()
    print(f"Found: {note} ({len(content)} bytes). To read it again: make fuzz ARGS='--again {note}'")
    if len(content) <= PRINTED_BYTES:
        print(f"base64: {base64.b64encode(content).decode()}")


def reader_named(name: str) -> Reader | None:
    """`module:function`, or None for an empty name."""
    if not name:
        return None
    module, _, function = name.partition(":")
    found: Reader = getattr(importlib.import_module(module), function)
    return found


def main() -> int:
    """Returns: the exit status."""
    parser = argparse.ArgumentParser(description="Feeds damaged media to every reader.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--reader", default="", help="another reader as module:function")
    parser.add_argument("--again", type=Path, help="a file that was found")
    parser.add_argument("--worker", nargs=3, metavar=("END_S", "NOTE", "READER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        (reader_named(options.reader) or read_every_way)(options.again.read_bytes())
        print("no fault")
        return 0
    if options.worker:
        end_s, note, name = options.worker
        print(f"{work(float(end_s), Path(note), reader_named(name))} damaged files, no fault")
        return 0
    return search(options.seconds, options.folder, options.workers, options.reader)


if __name__ == "__main__":
    sys.exit(main())
