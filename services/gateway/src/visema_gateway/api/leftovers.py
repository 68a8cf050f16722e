"""What a client has still to send when its answer goes out already."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive

SHORT_BYTES: Final = 128 * 1024
PATIENCE_S: Final = 0.25  # many clients send head and body apart; both are on their way


class RequestBody:
    """Stands between the server and the application, and knows whether the request came to its end.

    Attributes:
        unread: Something is still to come.
    """

    def __init__(self, headers: Headers, receive: Receive) -> None:
        announced = headers.get("content-length", "0")
        chunked = "transfer-encoding" in headers
        self.unread = chunked or announced != "0"
        self._is_short = not chunked and announced.isdecimal() and int(announced) <= SHORT_BYTES
        self._receive = receive

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.unread = False
        return message

    async def discard_short(self) -> None:
        """Take a short rest off the connection: one that is closed on it may lose the answer on its way."""
        if self._is_short:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    while self.unread:
                        await self.receive()
