"""Multipart bodies, read as they arrive: limits hold from the first byte, slow senders are cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from visema_kit.errors import ImageTooLarge, InvalidInput, MediaTooLarge, VisemaError

from visema_gateway.api.problems import Refusal
from visema_gateway.api.spools import Received, Spool, Spools
from visema_gateway.settings import GatewaySettings

FIELD_MAX_BYTES: Final = 64 * 1024
FIELDS_MAX: Final = 64
HEADERS_MAX_BYTES: Final = 8 * 1024
OVERHEAD_BYTES: Final = 1 << 20  # fields, boundaries and part headers of a body


@dataclass
class Form:
    """A received form. Files live as long as the block that received it.

    Attributes:
        fields: Text fields; the last one of a name counts.
        files: Received files by field name.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Received] = field(default_factory=dict)


class Forms:
    """Receives forms, so many at once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._free = settings.upload_slots

    @asynccontextmanager
    async def receive(self, request: Request, files: Mapping[str, int]) -> AsyncIterator[Form]:
        """A form whose files are called as `files` says, with the most bytes of each.

        Raises: InvalidInput: not such a form. ImageTooLarge, MediaTooLarge. Refusal: too large, too slow, or too many
            at once.
        """
        content_type, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if content_type != b"multipart/form-data" or not boundary:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "MEDIA_NOT_ALLOWED", "send multipart/form-data")
        most_bytes = sum(files.values()) + OVERHEAD_BYTES
        check_length(request, most_bytes)
        if self._free == 0:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "RESOURCE_EXHAUSTED",
                "too many uploads at once",
                retry_after_s=1,
            )
        self._free -= 1
        receiver = _Receiver(files)
        try:
            yield await self._received(request, MultipartParser(boundary, receiver.callbacks()), receiver, most_bytes)
        finally:
            self._free += 1
            await receiver.close()

    async def _received(self, request: Request, parser: MultipartParser, receiver: _Receiver, most_bytes: int) -> Form:
        left_bytes = most_bytes
        try:
            async for chunk in timely(request, self._settings):
                left_bytes -= len(chunk)
                if left_bytes < 0:
                    raise too_large(most_bytes)
                parser.write(chunk)
                await receiver.settle()
            parser.finalize()
        except FormParserError:
            raise InvalidInput("the multipart body cannot be read", field="body") from None
        return await receiver.finish()


class _Receiver:
    """Takes the parser's events."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._spools = Spools()
        self._fields: dict[str, str] = {}
        self._files: dict[str, Spool] = {}
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._headers_bytes = 0
        self._name = ""
        self._file: Spool | None = None
        self._text = bytearray()
        self._parts = 0
        self._complete = False

    def callbacks(self) -> Any:
        """For `MultipartParser`."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value_part,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    async def settle(self) -> None:
        """Bring what has come to where it belongs; call it after each piece of the body."""
        await self._spools.settle()

    async def finish(self) -> Form:
        """The form. Raises: InvalidInput: the body ended early."""
        if not self._complete:
            raise InvalidInput("the multipart body ended early", field="body")
        return Form(self._fields, {name: await spool.received() for name, spool in self._files.items()})

    async def close(self) -> None:
        """Remove the files."""
        await self._spools.close()

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > FIELDS_MAX:
            raise InvalidInput(f"the form has more than {FIELDS_MAX} fields", field="body")
        self._headers, self._headers_bytes = {}, 0
        self._text = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _header_value_part(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._headers_bytes += size
        if self._headers_bytes > HEADERS_MAX_BYTES:
            raise InvalidInput("a part's headers are too long", field="body")

    def _header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        try:
            self._name = options.get(b"name", b"").decode()
        except UnicodeDecodeError:
            raise InvalidInput("a field's name is not UTF-8", field="body") from None
        if not self._name:
            raise InvalidInput("a part has no name", field="body")
        if self._name in self._limits:
            if self._name in self._files:
                raise InvalidInput("the file came twice", field=self._name)
            self._file = self._files[self._name] = self._spools.open()
        elif b"filename" in options:
            raise InvalidInput(f"no file is expected in {self._name[:60]!r}", field=self._name[:60])

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        size_bytes = end - start
        if self._file is None:
            if len(self._text) + size_bytes > FIELD_MAX_BYTES:
                raise InvalidInput(f"the field has more than {FIELD_MAX_BYTES} bytes", field=self._name[:60])
            self._text += data[start:end]
            return
        limit = self._limits[self._name]
        if self._file.size_bytes + size_bytes > limit:
            raise media_too_large(self._name, limit)
        self._file.take(data[start:end])

    def _part_end(self) -> None:
        if self._file is not None:
            if self._file.size_bytes == 0:
                raise InvalidInput("the file is empty", field=self._name)
            self._file = None
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise InvalidInput("the field is not UTF-8", field=self._name[:60]) from None
        if "\0" in text:
            raise InvalidInput("the field holds a null character", field=self._name[:60])
        self._fields[self._name] = text

    def _end(self) -> None:
        self._complete = True


def media_too_large(name: str, limit: int) -> VisemaError:
    """The error for a file with more bytes than are accepted."""
    kind = ImageTooLarge if name in {"image", "portrait"} else MediaTooLarge
    return kind(f"the file has more than {limit} bytes", field=name, metadata={"max_bytes": str(limit)})


def too_large(most_bytes: int) -> Refusal:
    """The refusal of a whole body."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "MEDIA_TOO_LARGE", f"a body has at most {most_bytes} bytes")


def check_length(request: Request, most_bytes: int) -> None:
    """Raises: Refusal: the request announces more than this."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most_bytes:
        raise too_large(most_bytes)


async def timely(request: Request, settings: GatewaySettings) -> AsyncIterator[bytes]:
    """The body in pieces. Raises: Refusal: a pause or the whole takes too long, or the client goes away."""
    deadline_s = time.monotonic() + settings.upload_timeout_s
    pieces = aiter(request.stream())
    while True:
        left_s = min(settings.idle_timeout_s, deadline_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                piece = await anext(pieces, None)
        except ClientDisconnect:
            raise Refusal(HTTPStatus.BAD_REQUEST, "INVALID_INPUT", "the body ended early") from None
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", "the body came too slowly") from None
        if piece is None:
            return
        if piece:
            yield piece
