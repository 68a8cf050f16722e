"""One gRPC server process: health, reflection, TLS, metrics, signals, and an end that loses no call.

Start: listen, health NOT_SERVING → `on_start` (load the engine, ask the store) → SERVING, port file.
End: NOT_SERVING → no new calls → `on_drain` → running calls get `grace_s` → `on_stop` → closed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from visema_kit.auth import TokenTable
from visema_kit.channel import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MESSAGE_LIMIT_BYTES
from visema_kit.interceptors import CallInterceptor
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics
from visema_kit.process import metrics_endpoint, port_file, reachable, settle
from visema_kit.settings import ServiceSettings, split_host_port
from visema_kit.tracing import Tracing, make_tracing

EXIT_FAILED: Final = 1
MIN_PING_INTERVAL_MS: Final = 10_000  # clients ping every 30 s; more often than this is abuse
ENDLESS_S: Final = 1e6
FLUSH_S: Final = 0.5  # for the last replies to leave after their handlers have returned

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

_BASE_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
)

log = get_logger(__name__)

Hook = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """The hook of a service that has nothing to do."""


@dataclass(frozen=True)
class ServiceSpec:
    """What a service gives to the server.

    Attributes:
        name: Short name, e.g. `wav2lip`.
        services: Full names of its gRPC services, for health and reflection.
        register: Adds the servicers to the server.
        settings: From the environment.
        metrics: The process's metrics.
        on_start: Loads what is needed; until it returns calls fail with UNAVAILABLE and health says NOT_SERVING.
        on_drain: Ends calls that would last, such as watches: before running calls are waited for.
        on_stop: Frees it, after the last call.
        tokens: Who may call; None: everybody, as tenant `default`.
        tracing: Where it has spans of its own beside calls; None: made from the settings.
    """

    name: str
    services: Sequence[str]
    register: Callable[[grpc.aio.Server], None]
    settings: ServiceSettings
    metrics: Metrics = field(default_factory=Metrics)
    on_start: Hook = _nothing
    on_drain: Hook = _nothing
    on_stop: Hook = _nothing
    tokens: TokenTable | None = None
    tracing: Tracing | None = None


@dataclass(frozen=True)
class RunningServer:
    """Where a server can be reached, as `host:port`; empty for what is switched off."""

    address: str
    metrics_address: str
    health_address: str


async def run_service(spec: ServiceSpec) -> None:
    """Serve until SIGTERM or SIGINT, then end in order. A signal during the start, or a second one, ends at once.

    Raises: SystemExit(1): the service could not start or end; the log says why.
    """
    stop = asyncio.Event()
    started = asyncio.Event()

    async def until_stopped() -> None:
        async with serve(spec):
            started.set()
            settle()
            await stop.wait()

    serving = asyncio.create_task(until_stopped(), name=f"serve-{spec.name}")

    def on_signal(name: str) -> None:
        log.info("signal", signal=name)
        if stop.is_set() or not started.is_set():
            serving.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        await serving
    except asyncio.CancelledError:
        log.warning("stopped_at_once")
    except Exception as error:
        log.exception("service_failed")
        raise SystemExit(EXIT_FAILED) from error
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def serve(spec: ServiceSpec) -> AsyncIterator[RunningServer]:
    """Serve while the block runs: SERVING inside it, drained and closed after it.

    Raises: OSError: an address cannot be bound or a TLS file not be read. What `on_start` raises; then `on_stop` is
        not called.
    """
    settings = spec.settings
    async with AsyncExitStack() as stack:
        tracing = spec.tracing or make_tracing(spec.name, settings.otlp_endpoint)
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        health_servicer = health.aio.HealthServicer()
        await _set_health(health_servicer, spec, _NOT_SERVING)

        interceptor = CallInterceptor(spec.metrics, spec.tokens, tracing)
        server = grpc.aio.server(interceptors=[interceptor], options=_options(settings))
        spec.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        names = (*spec.services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        address = _bind(server, settings.listen, _server_credentials(settings))
        await server.start()
        stack.push_async_callback(server.stop, None)  # when the start fails or the end is cut short

        running = RunningServer(
            address=address,
            metrics_address=stack.enter_context(metrics_endpoint(spec.name, spec.metrics, settings.metrics_listen)),
            health_address=await _start_health(settings, health_servicer, stack),
        )
        log.info("listening", grpc=address, metrics=running.metrics_address, health=running.health_address)
        await spec.on_start()
        interceptor.ready = True
        await _set_health(health_servicer, spec, _SERVING)
        addresses = {"grpc": address, "metrics": running.metrics_address, "health": running.health_address}
        stack.enter_context(port_file(settings.port_file, addresses))
        log.info("serving", grpc=address)
        try:
            yield running
        finally:
            await health_servicer.enter_graceful_shutdown()
            await _drain(server, interceptor, spec)
            await spec.on_stop()
    log.info("stopped")


async def _drain(server: grpc.aio.Server, interceptor: CallInterceptor, spec: ServiceSpec) -> None:
    """Take no new calls and let the running ones end. Health watches never end by themselves and are not waited for.

    grpc.aio is never told of a grace: where it runs out just when another stop of the same server has freed it, the
    process crashes (grpcio 1.85).
    """
    grace_s = spec.settings.grace_s
    until_s = time.monotonic() + grace_s
    log.info("draining", running=interceptor.running, grace_s=grace_s)
    stopping = asyncio.create_task(server.stop(ENDLESS_S))
    await spec.on_drain()
    idle = asyncio.create_task(interceptor.wait_idle())
    left_s = max(0.0, until_s - time.monotonic())
    await asyncio.wait({stopping, idle}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    if idle.done():
        await asyncio.wait({stopping}, timeout=min(FLUSH_S, grace_s))
    elif not stopping.done():
        log.warning("grace_exceeded", grace_s=grace_s)
    idle.cancel()
    if not stopping.done():
        await server.stop(None)
    await stopping


async def _set_health(servicer: health.aio.HealthServicer, spec: ServiceSpec, status: int) -> None:
    for name in (health.OVERALL_HEALTH, *spec.services):
        await servicer.set(name, status)


async def _start_health(settings: ServiceSettings, servicer: health.aio.HealthServicer, stack: AsyncExitStack) -> str:
    """A second server without TLS that answers nothing but health."""
    if not settings.health_listen:
        return ""
    server = grpc.aio.server(options=_BASE_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = _bind(server, settings.health_listen, None)
    await server.start()
    stack.push_async_callback(server.stop, None)
    return address


def _options(settings: ServiceSettings) -> tuple[tuple[str, int], ...]:
    return (
        *_BASE_OPTIONS,
        ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", settings.max_connection_age_grace_s * 1000),
    )


def _server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """TLS where a certificate is set; clients must show one where `tls_client_ca` is set."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    client_ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca is not None else None
    pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None) -> str:
    """Returns: the address to call, with the real port. Raises: OSError."""
    try:
        port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}: {error}") from error
    return reachable(split_host_port(listen)[0], port)
