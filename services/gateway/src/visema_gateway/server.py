"""The HTTP server: uvicorn with patience for headers that is limited, a port file, and an end in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics
from visema_kit.process import metrics_endpoint, port_file, reachable, settle
from visema_kit.settings import split_host_port
from visema_kit.tracing import make_tracing

from visema_gateway.app import make_app
from visema_gateway.core.gateway import Gateway
from visema_gateway.settings import GatewaySettings

# Longer than proxies keep theirs, 60 s mostly: they send the next request on what they believe to be open.
KEEP_ALIVE_S: Final = 75
BACKLOG: Final = 1024
POLL_S: Final = 0.01
LEAVING_S: Final = 1.0
SERVICE: Final = "gateway"

log = get_logger(__name__)


class _PatientProtocol(H11Protocol):
    """Ends connections whose request line and headers do not arrive in time, and those whose client does not read."""

    headers_timeout_s = 15.0
    send_timeout_s = 60.0
    _deadline: asyncio.TimerHandle | None = None
    _reading_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Writing pauses as soon as the client falls behind the kernel's buffer; with 0 TLS would pause on nothing.
        transport.set_write_buffer_limits(high=1, low=0)
        self._wait_for_headers()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading_deadline = self.loop.call_later(self.send_timeout_s, self._give_up_on_reader)

    def resume_writing(self) -> None:
        self._stop_waiting_for_reader()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def leave(self) -> None:
        """The answer that is under way is this connection's last."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._deadline is None:  # from the first byte on, however many more trickle in
            self._deadline = self.loop.call_later(self.headers_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_waiting_for_reader(self) -> None:
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _give_up_on_reader(self) -> None:
        """Also of a connection that is closing: it would wait for its last bytes to be read."""
        self._reading_deadline = None
        log.info("slow_reader_cut", unread_bytes=self.transport.get_write_buffer_size())
        self.transport.abort()


class Server:
    """One gateway process: HTTP and metrics."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._tracing = make_tracing(SERVICE, settings.otlp_endpoint)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises: OSError: an address cannot be bound. SystemExit: it cannot start."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self.serving():
            settle()
            await stop.wait()
            log.info("draining")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs. Yields: the URL."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self._tracing.close)
            listener = stack.enter_context(_listen(settings.listen))
            metrics_address = stack.enter_context(metrics_endpoint(SERVICE, self._metrics, settings.metrics_listen))
            gateway = Gateway(settings)
            server = _QuietServer(self._config(gateway))
            task = asyncio.create_task(server.serve([listener]), name="http")
            try:
                while not server.started:
                    if task.done():
                        task.result()
                        raise SystemExit(1)
                    await asyncio.sleep(POLL_S)
                address = reachable(*listener.getsockname()[:2])
                scheme = "https" if settings.tls_cert else "http"
                stack.enter_context(port_file(settings.port_file, {"http": address, "metrics": metrics_address}))
                log.info("serving", http=f"{scheme}://{address}", metrics=metrics_address)
                yield f"{scheme}://{address}"
            finally:
                await server.leave(gateway)
                server.should_exit = True
                await task
        log.info("stopped")

    def _config(self, gateway: Gateway) -> uvicorn.Config:
        settings = self._settings
        protocol = type(
            "Protocol",
            (_PatientProtocol,),
            {"headers_timeout_s": settings.idle_timeout_s, "send_timeout_s": settings.send_timeout_s},
        )
        return uvicorn.Config(
            make_app(gateway, self._metrics, self._tracing),
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.grace_s)),
            backlog=BACKLOG,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )


class _QuietServer(uvicorn.Server):
    """Leaves signals to the process, and its clients in order."""

    async def leave(self, gateway: Gateway) -> None:
        """Let clients go elsewhere before connections are closed, where a request that is on its way would be lost.

        From now on each answer ends its connection, and event streams end. New requests are answered until no
        connection is open, or for a while: a connection on which nothing has come meanwhile may be closed.
        """
        for connection in self.server_state.connections:
            connection.leave()  # type: ignore[union-attr]  # all are of our protocol
        await gateway.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                while self.server_state.connections:  # noqa: ASYNC110  # uvicorn tells nobody when one goes
                    await asyncio.sleep(POLL_S)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator function there
        """Nothing: `Server.run` has its own."""
        return nullcontext()


def _listen(address: str) -> socket.socket:
    host, port = split_host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
