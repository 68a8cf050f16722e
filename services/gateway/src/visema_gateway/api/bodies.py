"""JSON bodies: small, and in time, before anything parses them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from visema_gateway.api.deps import gateway_of
from visema_gateway.api.forms import check_length, timely, too_large

JSON_MAX_BYTES: Final = 128 * 1024  # the longest text with every character escaped, and what stands around it


async def bounded_body(request: Request) -> bytes:
    """A body that is no form. Raises: Refusal: too large, too slow, or ended early."""
    check_length(request, JSON_MAX_BYTES)
    body = bytearray()
    async for piece in timely(request, (await gateway_of(request)).settings):
        body += piece
        if len(body) > JSON_MAX_BYTES:
            raise too_large(JSON_MAX_BYTES)
    return bytes(body)


class BoundedRoute(APIRoute):
    """A route whose body FastAPI would otherwise gather, however long it is and takes, whatever type it claims to be.

    Routes that read forms themselves have no body of FastAPI's, and limits of their own.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, behind a body that was read within the limits."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def bounded(request: Request) -> Response:
            messages: list[Message] = [{"type": "http.request", "body": await bounded_body(request)}]

            async def receive() -> Message:
                return messages.pop() if messages else await request.receive()

            return await handler(Request(request.scope, receive))

        return bounded
