"""The folder in which a local stack keeps its files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import IO

from visema_client.localstack.errors import LocalStackError
from visema_client.localstack.seaweed import Credentials

_SUBFOLDERS = ("logs", "run", "store", "tmp")
_CREDENTIALS_FILE = "credentials.json"


def default_folder() -> Path:
    """Where `visema up` keeps jobs, avatars and videos: below the user's data directory."""
    import platformdirs  # noqa: PLC0415  # needed for a persistent stack only

    return Path(platformdirs.user_data_dir("visema")) / "stack"


class StateFolder:
    """A folder that one stack owns while it runs.

    Args:
        path: Folder that stays; None makes a temporary one.

    Raises: LocalStackError: another stack uses the folder, or it cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.temporary = path is None
        self._lock: IO[str] | None = None
        try:
            self.path = Path(tempfile.mkdtemp(prefix="visema-")) if path is None else path.expanduser().resolve()
            for name in _SUBFOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._lock = self._locked()
        except OSError as error:
            raise LocalStackError(
                f"the folder {path or tempfile.gettempdir()} cannot be used: {error.strerror}",
                hint="Choose another one with --state, or set TMPDIR.",
            ) from error
        for leftover in (self.path / "run").iterdir():  # of a stack that was killed
            leftover.unlink()

    def _locked(self) -> IO[str]:
        """Take the lock; the kernel frees it with the process."""
        file = (self.path / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LocalStackError(
                f"another stack is running in {self.path}", hint="Use that one, stop it, or choose another --state."
            ) from None
        return file

    def credentials(self) -> Credentials:
        """The object store's keys: made at random once, then kept in the folder."""
        path = self.path / _CREDENTIALS_FILE
        with contextlib.suppress(FileNotFoundError):
            known = json.loads(path.read_text())
            return Credentials(known["access_key"], known["secret_key"])
        made = Credentials(f"visema{secrets.token_hex(8)}", secrets.token_hex(24))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"access_key": made.access_key, "secret_key": made.secret_key}, file)
        return made

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
