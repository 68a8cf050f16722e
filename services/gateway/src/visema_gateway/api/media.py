"""Objects as HTTP responses: streamed, with ranges, validators and download names."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from visema.common.v1 import common_pb2

from visema_gateway.core.callers import Caller
from visema_gateway.core.gateway import Gateway

RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
BINARY: Final = {"type": "string", "format": "binary"}
SAFE_TYPES: Final = frozenset(
    {
        "video/mp4",
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/wav",
        "audio/mpeg",
        "audio/flac",
        "audio/ogg",
        "audio/mp4",
    }
)


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, length) of a `Range` header; None for the whole: no header, or one that may be ignored.

    Raises: ValueError: the range lies outside.
    """
    match = RANGE.fullmatch((header or "").strip())
    if match is None or match.group(0) == "bytes=-" or len(header or "") > 64:  # noqa: PLR2004  # several ranges, or rubbish
        return None
    first_text, last_text = match.groups()
    if not first_text:
        length = min(int(last_text), size)
        if length == 0:
            raise ValueError("no bytes")
        return size - length, length
    first = int(first_text)
    last = min(int(last_text), size - 1) if last_text else size - 1
    if first >= size:
        raise ValueError("beyond the end")
    return None if last < first else (first, last - first + 1)


async def object_response(
    request: Request,
    gateway: Gateway,
    caller: Caller,
    reference: common_pb2.ObjectRef,
    *,
    download_name: str = "",
) -> Response:
    """An object, or the range of it that the request wants. With a download name browsers save it."""
    etag = f'"{reference.sha256}"'
    # Ids count per caller, so that one path names different things: asked for again each time, by its validator.
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if download_name:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", download_name)
        headers["Content-Disposition"] = (
            f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(download_name, safe='')}"
        )
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    media_type = reference.media_type if reference.media_type in SAFE_TYPES else "application/octet-stream"
    size = reference.size_bytes
    in_force = request.headers.get("if-range", etag) == etag
    try:
        part = wanted_range(request.headers.get("range"), size) if in_force else None
    except ValueError:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    first, length = part or (0, size)
    status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
    headers["Content-Length"] = str(length)
    if part:
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    pieces = gateway.read(caller, reference, first, length)
    start = await anext(pieces)  # an object that is gone is an error here, and not a broken body

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield start
            async for piece in pieces:
                yield piece

    return StreamingResponse(body(), status, headers, media_type=media_type)
