"""The real services as processes of their own at fixed addresses: each can be ended and started again alone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import minio
from support.place import HERE, Place
from support.ports import free_ports
from support.seaweed import S3Server

STAGES = ("liveportrait", "wav2lip", "encoder")
SPEECH = "speech"
ORCHESTRATOR = "orchestrator"
SERVICES = (*STAGES, ORCHESTRATOR)
PATIENCE_S = 240.0  # a limit for hangs: many processes may start at once on two cores
STOP_S = 60.0


class RealStack:
    """Orchestrator and stages with embedded engines.

    Args:
        folder: For port files, logs and the database.
        store: The object store that they share.
        variables: Further settings of all services.
        services: Those to run.
        places: Where they run; on this machine's loopback interface those that it does not name.

    Attributes:
        told_addresses: What callers are told; a test may put something in between before it starts the callers.
    """

    def __init__(
        self,
        folder: Path,
        store: S3Server,
        variables: Mapping[str, str] | None = None,
        services: Sequence[str] = SERVICES,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.services = tuple(services)
        ports = free_ports(len(self.services))
        self._places = {name: (places or {}).get(name, HERE) for name in self.services}
        self.addresses = {
            name: f"{place.host}:{port}" for (name, place), port in zip(self._places.items(), ports, strict=True)
        }
        self.told_addresses = dict(self.addresses)
        self._variables = dict(variables or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self.told_addresses[ORCHESTRATOR]

    def pid(self, name: str) -> int:
        """Its process id."""
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """The end of what a service has written."""
        return self._log_path(name).read_text(errors="replace")[-3000:]

    def metrics_url(self, name: str) -> str:
        """Its Prometheus endpoint."""
        return f"http://{json.loads(self._port_file(name).read_text())['metrics']}/metrics"

    def start(self, *names: str) -> None:
        """Start services; does not wait."""
        for name in names:
            self._port_file(name).unlink(missing_ok=True)
            with self._log_path(name).open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [*self._places[name].command, sys.executable, "-m", f"visema_{name}"],
                    env=self._environment(name),
                    stdout=log,
                    stderr=log,
                )

    def wait_ready(self, *names: str) -> None:
        """Wait until services serve. Raises: RuntimeError: one ended. TimeoutError."""
        give_up = time.monotonic() + PATIENCE_S
        for name in names:
            while not self._port_file(name).exists():
                if self._processes[name].poll() is not None:
                    raise RuntimeError(f"{name} ended: {self.log(name)}")
                if time.monotonic() > give_up:
                    raise TimeoutError(f"{name} does not serve: {self.log(name)}")
                time.sleep(0.02)

    async def ready(self, *names: str) -> None:
        """`wait_ready` beside an event loop."""
        await asyncio.to_thread(self.wait_ready, *names)

    async def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; its port file stays, as after a crash."""
        self._processes[name].kill()
        await asyncio.to_thread(self._processes[name].wait, STOP_S)

    async def terminate(self, name: str) -> int:
        """SIGTERM, and wait for the end. Returns: its exit status."""
        self._processes[name].terminate()
        return await asyncio.to_thread(self._processes[name].wait, STOP_S)

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(STOP_S)

    def keys(self, prefix: str) -> dict[str, str]:
        """Objects below a prefix: key to the time at which each was written last, as the store says it."""
        store = self.store
        client = minio.Minio(
            store.endpoint.removeprefix("http://"),
            access_key=store.access_key,
            secret_key=store.secret_key,
            secure=False,
            region=store.region,
        )
        found = client.list_objects(store.bucket, prefix, recursive=True)
        return {entry.object_name or "": str(entry.last_modified) for entry in found}

    def _environment(self, name: str) -> dict[str, str]:
        variables = {
            **os.environ,
            **self.store.environment(),
            "VISEMA_ENGINE": "embedded",
            "VISEMA_LISTEN": self.addresses[name],
            "VISEMA_METRICS_LISTEN": f"{self._places[name].host}:0",
            "VISEMA_PORT_FILE": str(self._port_file(name)),
            "OMP_NUM_THREADS": "1",
        }
        if name == ORCHESTRATOR:
            variables["VISEMA_DATABASE_URL"] = f"sqlite:///{self.folder / 'visema.db'}"
            for stage in self.told_addresses.keys() & {*STAGES, SPEECH}:
                variables[f"VISEMA_{stage.upper()}_ADDRESS"] = self.told_addresses[stage]
        return variables | self._variables

    def _port_file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def running_stack_of(stack: RealStack) -> Iterator[RealStack]:
    """Start everything, end everything."""
    try:
        stack.start(*stack.services)
        stack.wait_ready(*stack.services)
        yield stack
    finally:
        stack.close()
