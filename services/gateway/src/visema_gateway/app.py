"""Puts the HTTP application together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from visema_kit.errors import VisemaError
from visema_kit.metrics import Metrics
from visema_kit.tracing import Tracing

from visema_gateway.api import about, avatars, files, problems, simple, v1
from visema_gateway.api.around import Around, HttpMetrics
from visema_gateway.api.events import Streams
from visema_gateway.api.forms import Forms
from visema_gateway.api.rates import RateLimits
from visema_gateway.core.gateway import Gateway

ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Range", "X-Request-ID")
DESCRIPTION = """One portrait and speech become a talking video.

`/generate`, `/status` and `/download` are the short way; `/avatar` is the library in the shapes that front ends know;
`/v1` has everything in one consistent form. Errors are problem details (RFC 9457)."""


def make_app(gateway: Gateway, metrics: Metrics, tracing: Tracing) -> ASGIApp:
    """The application; the gateway starts and stops with its lifespan."""
    settings = gateway.settings

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        # FastAPI makes its routes, and anyio loads itself, when first needed: 0.2 s for which everybody would wait.
        await run_in_threadpool(application.openapi)
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(
        title="VISEMA",
        version=version("visema-gateway"),
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0"},
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.gateway = gateway
    app.state.forms = Forms(settings)
    app.state.streams = Streams(settings.stream_limit)
    app.add_exception_handler(VisemaError, problems.on_visema_error)
    app.add_exception_handler(problems.Refusal, problems.on_refusal)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_exception_handler(Exception, problems.on_defect)
    for router in (simple.router, avatars.router, v1.router, about.router, files.make_router()):
        app.include_router(router)
    around = Around(
        app, RateLimits(settings, gateway.tokens), HttpMetrics(metrics.registry), tracing, lambda: gateway.draining
    )
    if not settings.origins:
        return around
    return CORSMiddleware(  # outermost: browsers may read refusals too
        around,
        allow_origins=settings.origins,
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=[*ALLOWED_HEADERS],
        expose_headers=["Content-Disposition", "Content-Range", "ETag", "Location", "Retry-After", "X-Request-ID"],
        max_age=600,
    )
