"""The whole of VISEMA on this machine: store, stages and orchestrator as separate processes on loopback ports."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from visema_client.localstack import seaweed
from visema_client.localstack.errors import LocalStackError
from visema_client.localstack.ports import LOOPBACK, accepts, free_ports, is_free
from visema_client.localstack.processes import Child, Janitor, stop_together
from visema_client.localstack.services import (
    GATEWAY,
    ORCHESTRATOR,
    STAGES,
    Service,
    environment,
    log_file,
    port_file,
)
from visema_client.localstack.state import StateFolder

STORE = "store"
POLL_S = 0.02
START_ATTEMPTS = 3
STOP_GRACE_S = 5.0
STORE_GRACE_S = 3.0  # weed drains for 15 s and more; what it acknowledged survives SIGKILL
_PORT_TAKEN = "address already in use"

MODULES: Mapping[str, str] = MappingProxyType({name: f"visema_{name}" for name in (*STAGES, ORCHESTRATOR, GATEWAY)})


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How the local stack runs.

    Attributes:
        folder: Where everything is kept; None takes a temporary folder that is removed at the stop.
        port: Port of the orchestrator; 0 takes a free one.
        gateway_port: Port of the gateway (REST and the web page); 0 takes a free one, None starts none.
        start_timeout_s: Time until everything must be ready.
        variables: Further environment variables of the services, e.g. `{"VISEMA_ENGINE": "embedded"}`.
        modules: Service name to the Python module that is run.
    """

    folder: Path | None = None
    port: int = 0
    gateway_port: int | None = None
    start_timeout_s: float = 90.0
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)


class _PortTaken(LocalStackError):
    """Somebody took one of our ports between the look and the bind."""


class LocalStack:
    """Starts the stack, and stops it in reverse order.

    Use it as a context manager. Nothing outlives the process that started it, even one that is killed.

        with LocalStack() as stack:
            Visema(stack.address).generate("portrait.jpg", "speech.wav").save("out.mp4")
    """

    def __init__(self, options: StackOptions | None = None) -> None:
        self.options = options or StackOptions()
        self.ready_after_s: dict[str, float] = {}
        self._state: StateFolder | None = None
        self._janitor: Janitor | None = None
        self._store: Child | None = None
        self._children: list[Child] = []
        self._services: list[Service] = []
        self._ports: seaweed.SeaweedPorts | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Address of the orchestrator: where clients connect."""
        return self.services[ORCHESTRATOR].address

    @property
    def url(self) -> str:
        """URL of the gateway: REST and the web page. Raises: LocalStackError: the stack runs without one."""
        gateway = self.services.get(GATEWAY)
        if gateway is None:
            raise LocalStackError("the local stack runs without a gateway")
        return f"http://{gateway.address}"

    @property
    def services(self) -> dict[str, Service]:
        """The services by name. Raises: LocalStackError: the stack does not run."""
        if not self._services:
            raise LocalStackError("the local stack does not run")
        return {service.name: service for service in self._services}

    @property
    def store_endpoint(self) -> str:
        """URL of the S3 server. Raises: LocalStackError: the stack does not run."""
        if self._ports is None:
            raise LocalStackError("the local stack does not run")
        return f"http://{LOOPBACK}:{self._ports.s3}"

    @property
    def folder(self) -> Path:
        """Where the stack keeps its files. Raises: LocalStackError: the stack does not run."""
        if self._state is None:
            raise LocalStackError("the local stack does not run")
        return self._state.path

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, the store's as `store`."""
        return {child.name: child.process.pid for child in self._everything()}

    def start(self) -> Self:
        """Start everything and wait until it is ready.

        Raises: LocalStackError: a program is missing, a process ended, or the time ran out; nothing is left running.
        """
        if self._state is not None:
            raise LocalStackError("the local stack runs already")
        weed = seaweed.find_weed()
        for port, option in ((self.options.port, "--port"), (self.options.gateway_port, "--http-port")):
            if port and not is_free(port):
                raise LocalStackError(f"port {port} is in use", hint=f"Choose another one with {option}, or 0 for any.")
        try:
            self._state = StateFolder(self.options.folder)
            self._janitor = Janitor()
            if self._state.temporary:
                self._janitor.tell("remove", self._state.path)
            self._start_with_retries(self._state, self._janitor, weed)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything in reverse order; a temporary folder goes. Does nothing when nothing runs."""
        with contextlib.ExitStack() as steps:  # each step runs even when one before it failed
            if self._state is not None:
                steps.callback(self._leave_folder, self._state, self._janitor)
            steps.callback(self._stop_processes)

    def check(self) -> None:
        """Raises: LocalStackError: a process has ended."""
        for child in self._everything():
            if child.exit_status is not None:
                raise self._died(child)

    def _everything(self) -> Iterator[Child]:
        if self._store is not None:
            yield self._store
        yield from self._children

    def _start_with_retries(self, state: StateFolder, janitor: Janitor, weed: Path) -> None:
        for attempt in range(START_ATTEMPTS):
            try:
                self._start_processes(state, janitor, weed)
                self._wait_until_ready(state)
            except _PortTaken:
                if attempt == START_ATTEMPTS - 1:
                    raise
                self._stop_processes()
            else:
                return

    def _start_processes(self, state: StateFolder, janitor: Janitor, weed: Path) -> None:
        """Start all at once; the services wait for the store."""
        names = [*STAGES, ORCHESTRATOR, *([] if self.options.gateway_port is None else [GATEWAY])]
        ports = free_ports(seaweed.PORT_COUNT + 2 * len(names))
        self._ports = seaweed.SeaweedPorts(*ports[: seaweed.PORT_COUNT])
        own = iter(ports[seaweed.PORT_COUNT :])
        fixed = {ORCHESTRATOR: self.options.port, GATEWAY: self.options.gateway_port}
        self._services = [
            Service(name, self.options.modules[name], fixed.get(name) or next(own), next(own)) for name in names
        ]
        for path in self._ports.unix_sockets:
            janitor.tell("remove", path)
        credentials = state.credentials()
        store_folder = state.path / "store"
        seaweed.write_identities(store_folder / "identities.json", credentials)
        self._store = Child.start(
            STORE,
            seaweed.command(weed, store_folder, self._ports),
            environment={},
            log=log_file(state.path, STORE),
            janitor=janitor,
        )
        addresses = {service.name: service.address for service in self._services}
        for service in self._services:
            port_file(state.path, service).unlink(missing_ok=True)
            variables = environment(
                service,
                state=state.path,
                s3_endpoint=self.store_endpoint,
                credentials=credentials,
                addresses=addresses,
                grace_s=STOP_GRACE_S,
                extra=self.options.variables,
            )
            log = log_file(state.path, service.name)
            self._children.append(
                Child.start(
                    service.name,
                    service.command,
                    environment=variables,
                    log=log,
                    janitor=janitor,
                )
            )

    def _wait_until_ready(self, state: StateFolder) -> None:
        started = time.monotonic()
        self.ready_after_s = {}
        waiting = {service.name: service for service in self._services}
        while True:
            self.check()
            elapsed_s = time.monotonic() - started
            if STORE not in self.ready_after_s and self._ports and accepts(self._ports.s3):
                self.ready_after_s[STORE] = elapsed_s
            for name in [name for name, service in waiting.items() if port_file(state.path, service).exists()]:
                self.ready_after_s[name] = elapsed_s
                del waiting[name]
            if not waiting and STORE in self.ready_after_s:
                return
            if elapsed_s > self.options.start_timeout_s:
                late = [*([] if STORE in self.ready_after_s else [STORE]), *waiting]
                raise LocalStackError(
                    f"{' and '.join(late)} not ready after {self.options.start_timeout_s:g} s",
                    hint="The machine may be busy; try again, or run `visema doctor`.",
                    log_tail=next(child for child in self._everything() if child.name == late[0]).log_tail(),
                )
            time.sleep(POLL_S)

    def _died(self, child: Child) -> LocalStackError:
        tail = child.log_tail()
        kind = _PortTaken if _PORT_TAKEN in tail.lower() else LocalStackError
        return kind(
            f"{child.name} ended with status {child.exit_status}",
            hint="Run `visema doctor`; the log below says why it ended.",
            log_tail=tail,
        )

    def _stop_processes(self) -> None:
        """Gateway and orchestrator first, so that no job starts; then the stages together; the store last."""
        persistent = self._state is not None and not self._state.temporary
        front = (GATEWAY, ORCHESTRATOR)
        stages = [child for child in self._children if child.name not in front]
        for name in front:
            stop_together([child for child in self._children if child.name == name], STOP_GRACE_S + 1)
        stop_together(stages, STOP_GRACE_S + 1)
        if self._store is not None:
            self._store.stop(STORE_GRACE_S if persistent else 0.0)
        for path in self._ports.unix_sockets if self._ports else []:
            path.unlink(missing_ok=True)
        self._children, self._store, self._ports, self._services = [], None, None, []

    def _leave_folder(self, state: StateFolder, janitor: Janitor | None) -> None:
        if state.temporary:
            shutil.rmtree(state.path, ignore_errors=True)
        state.release()
        if janitor is not None:
            janitor.close()  # removes what could not be removed here
        self._state, self._janitor = None, None
