"""The service's side of the eSpeak NG process: starts it, asks it, and starts it anew when it has died."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visema_kit.logs import get_logger

from visema_speech.engines.espeak import worker

START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 20.0  # a sentence takes milliseconds
_STOP_GRACE_S = 2.0

log = get_logger(__name__)


class WorkerDied(Exception):
    """The process ended or did not answer in time; the next question starts a new one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Attributes: header: the reply's JSON; sound: the bytes behind it."""

    header: dict[str, Any]
    sound: bytes


class EspeakProcess:
    """One worker process at a time. Not for several threads at once."""

    def __init__(self, library: Path, data: Path) -> None:
        """Start nothing yet."""
        self._command = [sys.executable, "-P", "-m", worker.__name__, str(library), str(data)]
        self._process: subprocess.Popen[bytes] | None = None
        self.version = ""
        self.rate_hz = 0

    @property
    def pid(self) -> int:
        """Process id; 0 when none runs."""
        return self._process.pid if self._process is not None else 0

    def ask(self, question: dict[str, object]) -> Answer:
        """Ask and wait for the reply. Raises: WorkerDied."""
        if self._process is None:
            self.start()
        return self._exchange(json.dumps(question).encode() + b"\n", ANSWER_LIMIT_S)

    def start(self) -> None:
        """Start the process and wait until the library is ready. Raises: WorkerDied."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        hello = self._exchange(b"", START_LIMIT_S)
        self.version, self.rate_hz = hello.header["version"], hello.header["rate_hz"]
        log.info("espeak_started", version=self.version, pid=self.pid)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()

    def _exchange(self, question: bytes, limit_s: float) -> Answer:
        process = self._process
        if process is None:
            raise WorkerDied("eSpeak NG does not run")
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        try:
            _pipe(process.stdin).write(question)
            _pipe(process.stdin).flush()
            reply = _pipe(process.stdout)
            header = json.loads(reply.readline())
            sound = reply.read(header.get("bytes", 0))
        except (OSError, ValueError) as error:  # a broken pipe, or the end of the output where a header should be
            status = self._bury(process)
            raise WorkerDied(f"eSpeak NG ended with status {status}") from error
        finally:
            timer.cancel()
        if len(sound) != header.get("bytes", 0):
            status = self._bury(process)
            raise WorkerDied(f"eSpeak NG ended with status {status} in the middle of a reply")
        return Answer(header, sound)

    def _bury(self, process: subprocess.Popen[bytes]) -> int:
        """Exit status; negative for a signal."""
        self._process = None
        process.kill()
        status = process.wait()
        with suppress(OSError):
            _pipe(process.stdin).close()
        _pipe(process.stdout).close()
        log.warning("espeak_died", status=status)
        return status


def _pipe(pipe: Any) -> Any:
    """One of the two pipes that every process of ours has."""
    assert pipe is not None  # noqa: S101  # Popen was told to make it
    return pipe
