"""What happens around every request: an id, rate limits, security headers, one wide log line, metrics."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import time
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from visema_kit.logs import get_logger
from visema_kit.metrics import RPC_BUCKETS_S

from visema_gateway.api.leftovers import RequestBody
from visema_gateway.api.problems import problem_response
from visema_gateway.api.rates import RateLimit
from visema_gateway.settings import GatewaySettings

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
POLLED: Final = frozenset({"/health", "/status/{job_id}"})  # logged as debug: hundreds a second say nothing new
UNLIMITED: Final = frozenset({"/health"})
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
    """Outermost ASGI layer."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._reads = RateLimit(settings.read_rate_per_s, settings.rate_burst_s)
        self._writes = RateLimit(settings.write_rate_per_s, settings.rate_burst_s * 5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if CLIENT_REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["visema_request_id"] = request_id
        status = 0
        body = RequestBody(headers, receive)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                await body.discard_short()
                reply = MutableHeaders(scope=message)
                reply["x-request-id"] = request_id
                if body.unread:  # nobody would limit how long the rest may take
                    reply["connection"] = "close"
                for name, value in SECURITY_HEADERS.items():
                    reply.setdefault(name, value)
            await send(message)

        limited_s = self._limited_s(scope, headers)
        if limited_s:
            self._metrics.refused.inc()
            refusal = problem_response(
                request_id,
                HTTPStatus.TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                "too many requests; slow down",
                headers={"Retry-After": str(math.ceil(limited_s))},
            )
            await refusal(scope, body.receive, answer)
        else:
            await self._app(scope, body.receive, answer)
        self._note(scope, status, time.perf_counter() - started_s, request_id)

    def _limited_s(self, scope: Scope, headers: Headers) -> float:
        """Seconds that this caller must wait; by token where there is one, else by address."""
        if scope["path"] in UNLIMITED:
            return 0.0
        token = headers.get("authorization", "")
        address = scope["client"][0] if scope.get("client") else ""
        name = hashlib.sha256(token.encode("latin-1", "replace")).hexdigest() if token else address
        limit = self._reads if scope["method"] in READING else self._writes
        waits_s = [limit.wait_s(name)]
        if token:  # made-up tokens must not give made-up rates
            waits_s.append(limit.wait_s(f"any token from {address}"))
        return max(waits_s)

    def _note(self, scope: Scope, status: int, elapsed_s: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope["method"] if scope["method"] in READING | {"POST", "DELETE"} else "other"
        self._metrics.requests.labels(method, route, str(status)).observe(elapsed_s)
        write = log.debug if route in POLLED else log.info
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            write = log.warning
        write(
            "http_request",
            method=method,
            route=route,
            status=status,
            elapsed_ms=round(elapsed_s * 1000, 1),
            request_id=request_id,
            client=scope["client"][0] if scope.get("client") else "",
        )
