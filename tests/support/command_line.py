"""The `visema` command as a process."""

from __future__ import annotations

import os
import subprocess
import sys

PATIENCE_S = 280.0  # a limit for hangs: with a stack of its own it starts every service


def visema(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with further environment variables; it takes its output for a wide terminal."""
    return subprocess.run(
        [sys.executable, "-m", "visema_client", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ | {"COLUMNS": "200", "VISEMA_ENGINE": "embedded"} | variables,
    )
