"""Trace context in and out of calls (W3C `traceparent`), and OpenTelemetry spans where a collector is configured.

Every call has a trace id, with or without a collector: it stands in the logs of all services that worked on it. The
OpenTelemetry SDK is the optional extra `otel`; it is imported only when an endpoint is set.
"""

from __future__ import annotations

import contextvars
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


@dataclass(frozen=True)
class TraceContext:
    """Which trace a call belongs to, in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


_current: Final[contextvars.ContextVar[tuple[Tracing, TraceContext] | None]] = contextvars.ContextVar(
    "visema_trace", default=None
)


def current_trace() -> TraceContext | None:
    """The trace of the running call."""
    running = _current.get()
    return None if running is None else running[1]


def trace_metadata() -> list[tuple[str, str]]:
    """Metadata for a call to another service: the running call's trace."""
    trace = current_trace()
    return [] if trace is None else [("traceparent", trace.traceparent())]


def exemplar() -> dict[str, str] | None:
    """What links a measured value to the running call's trace; None outside of sampled calls."""
    trace = current_trace()
    return {"trace_id": trace.trace_id} if trace is not None and trace.sampled else None


@contextmanager
def step(name: str) -> Iterator[None]:
    """The block is a span below the running call's, recorded where that one is. Outside of calls it is nothing."""
    running = _current.get()
    if running is None:
        yield
        return
    with running[0].span(name):
        yield


def incoming_trace(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """The caller's trace; None when it sends none or a malformed one."""
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str) and (match := _TRACEPARENT.fullmatch(value)):
            trace_id, span_id, flags = match.group(1), match.group(2), int(match.group(3), 16)
            if int(trace_id, 16) and int(span_id, 16):
                return TraceContext(trace_id, span_id, bool(flags & _SAMPLED))
    return None


class Tracing:
    """Gives each call a trace, without recording it."""

    @contextmanager
    def span(self, name: str, parent: TraceContext | None = None, *, server: bool = False) -> Iterator[TraceContext]:
        """The block is a span below `parent`, or below the running call's, or of a new trace.

        Args: server: the span serves a call from another process.
        """
        with self._recorded(name, parent or current_trace(), server=server) as trace:
            token = _current.set((self, trace))
            try:
                yield trace
            finally:
                _current.reset(token)

    def describe(self, name: str, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """Give the span around it another name and attributes: what is known at its end only."""

    def close(self) -> None:
        """Send what was recorded. Blocks."""

    @contextmanager
    def _recorded(self, name: str, parent: TraceContext | None, *, server: bool) -> Iterator[TraceContext]:  # noqa: ARG002
        trace_id = parent.trace_id if parent else secrets.token_hex(16)
        yield TraceContext(trace_id, secrets.token_hex(8), parent.sampled if parent else True)


class OtelTracing(Tracing):
    """Records spans and sends them to a collector (OTLP over gRPC) or to the exporter given."""

    def __init__(self, service: str, endpoint: str, exporter: SpanExporter | None = None) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # optional extra, paid for only when used
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
        self._provider = TracerProvider(resource=Resource.create({"service.name": f"visema-{service}"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("visema_kit")

    def describe(self, name: str, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """Give the span around it another name and attributes: what is known at its end only."""
        from opentelemetry import trace as otel  # noqa: PLC0415

        span = otel.get_current_span()
        span.update_name(name)
        span.set_attributes(attributes)
        if failed:
            span.set_status(otel.StatusCode.ERROR)

    def close(self) -> None:
        """Send what was recorded. Blocks for some seconds when the collector does not answer."""
        self._provider.shutdown()

    @contextmanager
    def _recorded(self, name: str, parent: TraceContext | None, *, server: bool) -> Iterator[TraceContext]:
        from opentelemetry import trace as otel  # noqa: PLC0415

        above = None
        if parent is not None:
            remote = otel.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=otel.TraceFlags(parent.sampled),
            )
            above = otel.set_span_in_context(otel.NonRecordingSpan(remote))
        kind = otel.SpanKind.SERVER if server else otel.SpanKind.INTERNAL
        with self._tracer.start_as_current_span(name, context=above, kind=kind) as span:
            made = span.get_span_context()
            yield TraceContext(f"{made.trace_id:032x}", f"{made.span_id:016x}", made.trace_flags.sampled)


def make_tracing(service: str, endpoint: str) -> Tracing:
    """Tracing for a service; records only when there is an endpoint.

    Raises: ImportError: an endpoint is set and the extra `otel` is not installed.
    """
    return OtelTracing(service, endpoint) if endpoint else Tracing()
