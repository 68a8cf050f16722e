"""What happens around every request: an id, rate limits, security headers, one wide log line, metrics."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars
from visema_kit.logs import get_logger
from visema_kit.metrics import RPC_BUCKETS_S
from visema_kit.tracing import Tracing, incoming_trace

from visema_gateway.api.leftovers import RequestBody
from visema_gateway.api.problems import problem_response
from visema_gateway.api.rates import RateLimits

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "DELETE"})
# Logged as debug: hundreds a second say nothing new.
POLLED: Final = frozenset({"/health", "/status/{job_id}", "/avatar/animations/{number}/status"})
UNLIMITED: Final = frozenset({"/health"})
UNANSWERED: Final = 499  # no status of HTTP: as in nginx's logs, the request was given up before there was an answer
CLIENT_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "cross-origin-opener-policy": "same-origin",
}

log = get_logger(__name__)


class HttpMetrics:
    """The gateway's own metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Histogram(
            "visema_http_request_seconds",
            "Requests answered, up to the response's end.",
            ("method", "route", "status"),
            buckets=RPC_BUCKETS_S,
            registry=registry,
        )
        self.refused = Counter("visema_http_rate_limited_total", "Requests refused by a rate limit.", registry=registry)


class Around:
    """ASGI layer around everything that answers. Args: leaving: whether clients shall go elsewhere."""

    def __init__(
        self, app: ASGIApp, limits: RateLimits, metrics: HttpMetrics, tracing: Tracing, leaving: Callable[[], bool]
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Its id is the client's own, else that of its trace, which goes on to the orchestrator."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with self._tracing.span(f"HTTP {_method(scope)}", incoming_trace(headers.items()), server=True) as trace:
            given = headers.get("x-request-id", "")
            request_id = given if CLIENT_REQUEST_ID.fullmatch(given) else trace.trace_id
            with bound_contextvars(request_id=request_id, trace_id=trace.trace_id):
                await self._serve(scope, receive, send, request_id)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started_s = time.perf_counter()
        scope["visema_request_id"] = request_id
        status = UNANSWERED
        body = RequestBody(Headers(scope=scope), receive)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                await body.discard_short()
                reply = MutableHeaders(scope=message)
                reply["x-request-id"] = request_id
                if body.unread or self._leaving():  # nobody would limit how long the rest of a body may take
                    reply["connection"] = "close"
                for name, value in SECURITY_HEADERS.items():
                    reply.setdefault(name, value)
            await send(message)

        try:
            await (self._refusal(scope, request_id) or self._app)(scope, body.receive, answer)
        except Exception:  # `on_defect` has logged and answered those of the application
            if status == UNANSWERED:  # it was not the application's
                log.exception("request_failed")
            status = HTTPStatus.INTERNAL_SERVER_ERROR  # also where the answer had begun: the client did not get it
        finally:
            self._note(scope, status, time.perf_counter() - started_s)

    def _refusal(self, scope: Scope, request_id: str) -> Response | None:
        """The answer to a caller that asks too often."""
        if scope["path"] in UNLIMITED:
            return None
        authorization = Headers(scope=scope).get("authorization")
        wait_s = self._limits.wait_s(scope["method"], authorization, _address(scope))
        if not wait_s:
            return None
        self._metrics.refused.inc()
        return problem_response(
            request_id,
            HTTPStatus.TOO_MANY_REQUESTS,
            "RATE_LIMITED",
            "too many requests; slow down",
            headers={"Retry-After": str(math.ceil(wait_s))},
        )

    def _note(self, scope: Scope, status: int, elapsed_s: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "other"
        method = _method(scope)
        self._metrics.requests.labels(method, route, str(status)).observe(elapsed_s)
        self._tracing.describe(
            f"{method} {route}",
            {"http.request.method": method, "http.route": route, "http.response.status_code": status},
            failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        )
        write = log.debug if route in POLLED else log.info
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            write = log.warning
        write(
            "http_request",
            method=method,
            route=route,
            status=status,
            elapsed_ms=round(elapsed_s * 1000, 1),
            client=_address(scope),
        )


def _method(scope: Scope) -> str:
    """From a small closed set, for labels and spans."""
    return str(scope["method"]) if scope["method"] in METHODS else "other"


def _address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""
