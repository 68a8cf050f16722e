"""Cleans up behind a local stack whose owner died: ends its processes and removes its temporary files.

Runs as a process of its own (`python -I -S janitor.py OWNER_PID`; standard library only, so that it starts at once)
in a session of its own, where no Ctrl-C reaches it. The owner writes one command a line to its standard input:

    start PID     a process belongs to the stack
    gone PID      that process was waited for
    remove PATH   a file or folder is to be removed at the end
    keep PATH     it is not any more

End of input, or another parent than the owner, means that the owner is gone: the janitor then kills what is left,
removes what is listed, and ends. An owner that stopped everything itself leaves nothing to do.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

PARENT_CHECK_S = 1.0  # a copy of the pipe may survive in a process that the owner forked
REMOVE_ATTEMPTS = 50
REMOVE_PAUSE_S = 0.1


class Duties:
    """What is to be done when the owner is gone."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.paths: set[str] = set()

    def note(self, line: str) -> None:
        """Take one command."""
        command, _, argument = line.partition(" ")
        if command == "start":
            self.pids.add(int(argument))
        elif command == "gone":
            self.pids.discard(int(argument))
        elif command == "remove":
            self.paths.add(argument)
        elif command == "keep":
            self.paths.discard(argument)

    def perform(self) -> None:
        """Kill and remove."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for path in self.paths:
            remove(path)


def remove(path: str) -> None:
    """Remove a file or a folder; a dying process may still write into it for a moment."""
    target = Path(path)
    for _ in range(REMOVE_ATTEMPTS):
        try:
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        except OSError:
            time.sleep(REMOVE_PAUSE_S)
        else:
            return


def listen(owner_pid: int, duties: Duties) -> None:
    """Take commands until the owner is gone."""
    rest = b""
    while os.getppid() == owner_pid:
        if not select.select([0], [], [], PARENT_CHECK_S)[0]:
            continue
        piece = os.read(0, 65536)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            duties.note(os.fsdecode(line))


def main() -> None:
    """Listen, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its owner, not before
    duties = Duties()
    listen(int(sys.argv[1]), duties)
    duties.perform()


if __name__ == "__main__":
    main()
