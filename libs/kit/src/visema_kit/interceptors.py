"""What happens around every RPC of a server: one interceptor for all four shapes.

In this order: trace, authentication, readiness, validation of requests, the servicer, errors to rich status, one wide
log line, metrics. Cancellation passes through untouched. Health and reflection are left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message
from grpc_status import rpc_status

from visema_kit.auth import TokenTable, current_tenant, set_current_tenant
from visema_kit.errors import StageUnavailable, VisemaError
from visema_kit.logs import get_logger
from visema_kit.metrics import Metrics
from visema_kit.status import exception_to_error, to_status
from visema_kit.tracing import Tracing, exemplar, incoming_trace
from visema_kit.validation import check_request

EXEMPT_SERVICES: Final = ("grpc.health.v1.", "grpc.reflection.")
NOT_READY_RETRY_S: Final = 1.0
CANCELLATION_FOLLOWS_S: Final = 0.005
# A caller's own clock ends its call before ours does: gRPC sends the time that is left rounded up, to two digits or
# three, and it counts here from its arrival.
EARLY_S: Final = 0.1
EARLY_SHARE: Final = 0.01

_OUR_FAULT: Final = frozenset({"INTERNAL", "DATA_LOSS", "UNKNOWN"})
_IDENTITY_LIMIT: Final = 128  # characters; a client can write anything there

# Fields of a first request that tell whose work it is, as paths; each is logged under its last name.
_IDENTITY_PATHS: Final = (
    ("context", "tenant"), ("context", "work_id"), ("open", "context", "tenant"), ("open", "context", "work_id"),
    ("job_id",), ("avatar_id",), ("request_id",), ("upload_id",),
)  # fmt: skip

Context = grpc.aio.ServicerContext[Any, Any]

log = get_logger(__name__)


def time_left_s(context: Context) -> float | None:
    """Seconds until the caller gives up; None when it waits for ever. Goes on to the next service as `timeout=`."""
    return context.time_remaining()


@dataclass
class _Call:
    """What is known about one RPC."""

    method: str
    peer: str
    tenant: str = ""
    code: str = "OK"
    reason: str = ""
    request_count: int = 0
    reply_count: int = 0
    identity: dict[str, str] = field(default_factory=dict)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler. Until `ready` is set to True calls fail with UNAVAILABLE."""

    def __init__(self, metrics: Metrics, tokens: TokenTable | None = None, tracing: Tracing | None = None) -> None:
        self.ready = False
        self._metrics = metrics
        self._tokens = tokens
        self._tracing = tracing or Tracing()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """RPCs that are being served."""
        return self._running

    async def wait_idle(self) -> None:
        """Until no RPC is being served."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Give back the handler inside a wrapper of the same shape."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method.lstrip("/").startswith(EXEMPT_SERVICES):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of the same shape.

        Replies of a stream are written here, so that the servicer's generator is closed as soon as the call is
        cancelled and not when it is collected.
        """
        serving = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(self._one_reply(handler.unary_unary, method), **serving)
            case True, False:
                return grpc.stream_unary_rpc_method_handler(self._one_reply(handler.stream_unary, method), **serving)
            case False, True:
                return grpc.unary_stream_rpc_method_handler(self._replies(handler.unary_stream, method), **serving)
            case _:
                return grpc.stream_stream_rpc_method_handler(self._replies(handler.stream_stream, method), **serving)

    def _one_reply(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def serve(request: Any, context: Context) -> Any:
            async with self._around(method, context) as call:
                if not iscoroutinefunction(behaviour):
                    await _unimplemented(context)
                reply = await behaviour(self._checked(request, call), context)
                call.reply_count = 1
                return reply

        return serve

    def _replies(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def serve(request: Any, context: Context) -> None:
            async with self._around(method, context) as call:
                if not isasyncgenfunction(behaviour):
                    await _unimplemented(context)
                async with aclosing(behaviour(self._checked(request, call), context)) as replies:
                    async for reply in replies:
                        call.reply_count += 1
                        await _write(reply, context)

        return serve

    def _checked(self, request: Any, call: _Call) -> Any:
        """The request, or the stream of requests, validated."""
        if isinstance(request, Message):
            _admit(request, call)
            return request
        return _checked_stream(request, call)

    @asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[_Call]:
        """Everything that happens before and after the servicer."""
        call = _Call(method, context.peer())
        start = time.perf_counter()
        self._begin(method)
        try:
            with (
                self._tracing.span(method, incoming_trace(_metadata(context)), server=True) as trace,
                structlog.contextvars.bound_contextvars(method=method, trace_id=trace.trace_id),
            ):
                try:
                    self._authenticate(context, call)
                    yield call
                except asyncio.CancelledError:
                    early_s = EARLY_S + EARLY_SHARE * (time.perf_counter() - start)
                    left_s = time_left_s(context)
                    call.code = "DEADLINE_EXCEEDED" if left_s is not None and left_s <= early_s else "CANCELLED"
                    raise
                except grpc.aio.AbortError:  # the servicer spoke to gRPC itself
                    code = context.code()
                    call.code = code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
                    raise
                except Exception as fault:  # noqa: BLE001  # the one place where everything is caught
                    error = self._typed(fault)
                    call.code, call.reason = error.code.name, error.reason
                    await context.abort_with_status(rpc_status.to_status(to_status(error)))
                finally:
                    self._end(call, time.perf_counter() - start)
        finally:
            self._finish(method)

    def _begin(self, method: str) -> None:
        self._running += 1
        self._idle.clear()
        self._metrics.inflight.labels(method).inc()

    def _finish(self, method: str) -> None:
        self._metrics.inflight.labels(method).dec()
        self._running -= 1
        if not self._running:
            self._idle.set()

    def _authenticate(self, context: Context, call: _Call) -> None:
        if self._tokens is not None:
            set_current_tenant(self._tokens.tenant_of(_metadata(context)))
        call.tenant = current_tenant()
        structlog.contextvars.bind_contextvars(tenant=call.tenant)
        if not self.ready:
            raise StageUnavailable("the service is not ready yet", retry_after_s=NOT_READY_RETRY_S)

    def _typed(self, fault: Exception) -> VisemaError:
        """The error for the client; what was not foreseen goes to the log with its traceback, and nowhere else."""
        if not isinstance(fault, VisemaError):
            log.error("unexpected_error", exc_info=fault)
        return exception_to_error(fault)

    def _end(self, call: _Call, duration_s: float) -> None:
        self._metrics.rpc_duration.labels(call.method, call.code).observe(duration_s, exemplar())
        write = log.error if call.code in _OUR_FAULT else log.info
        write(
            "rpc",
            **{
                "tenant": call.tenant,
                **call.identity,
                "code": call.code,
                "reason": call.reason,
                "duration_s": round(duration_s, 6),
                "requests": call.request_count,
                "replies": call.reply_count,
                "peer": call.peer,
            },
        )


async def _unimplemented(context: Context) -> None:
    """For methods that the servicer does not override (the generated ones are no coroutines)."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the service does not have this method")


async def _write(reply: Any, context: Context) -> None:
    """Send a reply. Raises: CancelledError: also when gRPC notices in the middle of a write that the client is gone."""
    try:
        await context.write(reply)
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


async def _checked_stream(requests: AsyncIterator[Message], call: _Call) -> AsyncGenerator[Message, None]:
    async for request in requests:
        _admit(request, call)
        yield request
    # gRPC ends the requests of a client that went away like those of one that is done; the cancellation follows.
    await asyncio.sleep(CANCELLATION_FOLLOWS_S)


def _admit(request: Message, call: _Call) -> None:
    """Count and validate a request; the first one also tells whose work it is. Raises: InvalidInput."""
    call.request_count += 1
    if call.request_count == 1:
        call.identity = _identity(request)
        structlog.contextvars.bind_contextvars(**call.identity)
    check_request(request)


def _identity(request: Message) -> dict[str, str]:
    """Fields for the log that say whose work a request is."""
    found = {}
    for path in _IDENTITY_PATHS:
        value: Any = request
        for name in path:
            value = getattr(value, name, None)
        if isinstance(value, str) and value:
            found[path[-1]] = value[:_IDENTITY_LIMIT]
    return found


def _metadata(context: Context) -> Iterable[tuple[str, str | bytes]]:
    metadata: Any = context.invocation_metadata()  # typed as something that cannot be iterated
    return metadata or ()
