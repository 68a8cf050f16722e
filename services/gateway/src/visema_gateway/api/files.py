"""The web page and the interactive documentation: files of this package, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# Swagger UI sets styles on elements and draws its icons as data URLs.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SWAGGER_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css")


@dataclass(frozen=True, slots=True)
class File:
    """A file in memory."""

    content: bytes
    media_type: str
    etag: str


def _file(name: str, content: bytes) -> File:
    media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    return File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:24]}"')


def _read(package: str, folder: str) -> dict[str, File]:
    entries = (resources.files(package) / folder).iterdir()
    return {entry.name: _file(entry.name, entry.read_bytes()) for entry in entries if entry.is_file()}


def make_router() -> APIRouter:
    """Routes of `/`, `/page/…` and `/api`."""
    router = APIRouter(include_in_schema=False)
    page = _read("visema_gateway", "page")
    swagger = {
        name: _file(name, (resources.files("fastapi_offline") / "static" / name).read_bytes()) for name in SWAGGER_FILES
    }

    @router.api_route("/", methods=["GET", "HEAD"])
    async def start(request: Request) -> Response:
        return _response(request, page, "index.html")

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def page_file(request: Request, name: str) -> Response:
        return _response(request, page, name)

    @router.api_route("/api", methods=["GET", "HEAD"])
    async def documentation(request: Request) -> Response:
        return _response(request, page, "api.html", DOCS_POLICY)

    @router.api_route("/api/{name}", methods=["GET", "HEAD"])
    async def documentation_file(request: Request, name: str) -> Response:
        return _response(request, swagger, name)

    @router.api_route("/favicon.ico", methods=["GET", "HEAD"])
    async def favicon(request: Request) -> Response:
        return _response(request, page, "icon.svg")

    return router


def _response(request: Request, files: Mapping[str, File], name: str, policy: str = "") -> Response:
    file = files.get(name)
    if file is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"} | ({"Content-Security-Policy": policy} if policy else {})
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
