"""A gateway on a free port, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from visema_gateway.server import Server
from visema_gateway.settings import GatewaySettings

START_S = 60.0  # also to end: a limit for hangs, not for speed


def settings_for(orchestrator: str, folder: Path, **changes: Any) -> GatewaySettings:
    """Settings of a gateway in this process."""
    values = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "off",
        "orchestrator_address": orchestrator,
        "database_url": f"sqlite:///{folder / 'gateway.db'}",
        "write_rate_per_s": 1000.0,
        "grace_s": 1.0,
    }
    return GatewaySettings(**(values | changes))


@asynccontextmanager
async def serving(orchestrator: str, folder: Path, **changes: Any) -> AsyncIterator[str]:
    """A gateway in this process. Yields: its URL."""
    async with Server(settings_for(orchestrator, folder, **changes)).serving() as url:
        yield url


@contextmanager
def process(
    orchestrator: str, folder: Path, program: Sequence[str] = ("-m", "visema_gateway"), **variables: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A gateway in a process of its own. Yields: its URL, and the process."""
    port_file = folder / "gateway.json"
    port_file.unlink(missing_ok=True)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("VISEMA_")} | {
        "VISEMA_LISTEN": "127.0.0.1:0",
        "VISEMA_ORCHESTRATOR_ADDRESS": orchestrator,
        "VISEMA_DATABASE_URL": f"sqlite:///{folder / 'gateway.db'}",
        "VISEMA_PORT_FILE": str(port_file),
        "VISEMA_WRITE_RATE_PER_S": "1000",
        "VISEMA_GRACE_S": "1",
        **variables,
    }
    with (folder / "gateway.log").open("ab") as log:
        running = subprocess.Popen([sys.executable, *program], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while not port_file.exists():
            assert running.poll() is None, (folder / "gateway.log").read_text()
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.05)
        yield f"http://{json.loads(port_file.read_text())['http']}", running
    finally:
        running.terminate()
        running.wait(START_S)
