"""Child processes that write to log files and never outlive their owner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from visema_client.localstack import janitor
from visema_client.localstack.errors import LocalStackError

TAIL_LINES = 25
TAIL_BYTES = 16_384
JANITOR_END_S = 10.0


class Janitor:
    """The owner's end of the pipe to the janitor process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", janitor.__file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def tell(self, command: str, argument: object) -> None:
        """Send one command; see the janitor's module."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(os.fsencode(f"{command} {argument}\n"))
            self._process.stdin.flush()

    def close(self) -> None:
        """Let the janitor do what is left, and wait for it."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=JANITOR_END_S)


@dataclass(frozen=True, slots=True)
class Child:
    """A running process of the stack.

    Attributes:
        name: Name for a person, e.g. `encoder`.
        process: The process.
        log: File with everything that it writes.
        janitor: Cleans up when the owner dies.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    janitor: Janitor

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, janitor: Janitor
    ) -> Self:
        """Start a process in a session of its own, so that Ctrl-C reaches only the owner, who then stops it in order.

        Raises: LocalStackError: the program cannot be executed.
        """
        with log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                )
            except OSError as error:
                raise LocalStackError(f"{name} cannot be started: {error}", hint="Run `visema doctor`.") from error
        janitor.tell("start", process.pid)
        return cls(name, process, log, janitor)

    @property
    def exit_status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to one that still runs after `grace_s`."""
        self.ask_to_stop()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.janitor.tell("gone", self.process.pid)

    def log_tail(self) -> str:
        """The last lines of its log."""
        return log_tail(self.log)


def stop_together(children: Sequence[Child], grace_s: float) -> None:
    """SIGTERM to all at once; `grace_s` is the time for all of them."""
    deadline = time.monotonic() + grace_s
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.stop(max(0.0, deadline - time.monotonic()))


def log_tail(log: Path) -> str:
    """The last lines of a log; empty when there is no log."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
