"""Files to the server and objects back: in chunks, hashed, and going on after a broken connection."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import media_pb2
from visema_kit.errors import DeadlineExceeded, ObjectCorrupt, VisemaError

from visema_client.connection import Connection
from visema_client.retry import with_retries

CHUNK_BYTES: Final = 256 * 1024  # the API allows 1 MiB


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file whose size and hash its maker knows already, so that it is read once, when it is sent."""

    path: Path
    size_bytes: int
    sha256: str


MediaSource = str | os.PathLike[str] | bytes | KnownFile | common_pb2.ObjectRef


class _Source(Protocol):
    """Bytes that can be read several times."""

    def chunks(self) -> AsyncIterator[bytes]:
        """All of it, in pieces of at most CHUNK_BYTES."""


@dataclass(frozen=True, slots=True)
class _Memory:
    content: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[start : start + CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    async def chunks(self) -> AsyncIterator[bytes]:
        with await asyncio.to_thread(self.path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk


async def upload(
    connection: Connection, source: MediaSource, kind: media_pb2.MediaKind.ValueType
) -> common_pb2.ObjectRef:
    """Send a picture or speech. A reference, which was uploaded before, is returned as it is.

    The server finds the same content again by its hash, so that sending it twice is harmless.

    Raises: OSError: the file cannot be read. VisemaError: it is refused, or the server does not answer.
    """
    if isinstance(source, common_pb2.ObjectRef):
        return source
    readable = _readable(source)
    size_bytes, sha256 = (
        (source.size_bytes, source.sha256) if isinstance(source, KnownFile) else await _measure(readable)
    )
    header = media_pb2.UploadHeader(kind=kind, size_bytes=size_bytes, sha256=sha256)

    async def requests() -> AsyncIterator[media_pb2.UploadRequest]:
        yield media_pb2.UploadRequest(header=header)
        async for chunk in readable.chunks():
            yield media_pb2.UploadRequest(chunk=chunk)

    async def once() -> common_pb2.ObjectRef:
        async with connection.typed_errors():
            reply: media_pb2.UploadResponse = await connection.media.Upload(
                requests(), timeout=connection.timeouts.upload_s, metadata=connection.metadata
            )
            return reply.object

    return await with_retries(connection.attempts(), once)


def _readable(source: str | os.PathLike[str] | bytes | KnownFile) -> _Source:
    if isinstance(source, bytes):
        return _Memory(source)
    return _File(source.path if isinstance(source, KnownFile) else Path(source))


async def _measure(source: _Source) -> tuple[int, str]:
    """Size and hash."""
    digest, size_bytes = hashlib.sha256(), 0
    async for chunk in source.chunks():
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, digest.hexdigest()


async def iterate_object(
    connection: Connection, reference: common_pb2.ObjectRef, *, offset_bytes: int = 0, length_bytes: int = 0
) -> AsyncGenerator[bytes, None]:
    """The bytes of an object, or a range of it (`length_bytes` 0: up to the end). A broken stream goes on where it was.

    Raises: VisemaError. The content is not checked here; `download` and `read` do.
    """
    end = offset_bytes + length_bytes if length_bytes else reference.size_bytes
    position = offset_bytes
    attempts = connection.attempts()
    while position < end:
        request = media_pb2.DownloadRequest(
            object=reference, offset_bytes=position, length_bytes=end - position if length_bytes else 0
        )
        try:
            async with connection.stream(connection.media.Download, request) as replies:
                async for reply in replies:
                    if reply.WhichOneof("event") == "chunk" and reply.chunk:
                        attempts.succeeded()
                        position += len(reply.chunk)
                        yield reply.chunk
            if position < end:
                raise ObjectCorrupt(f"the object ended after {position} of {end} bytes")
        except DeadlineExceeded:
            continue  # of this one stream
        except VisemaError as error:
            await attempts.failed(error)


async def read(connection: Connection, reference: common_pb2.ObjectRef) -> bytes:
    """The whole content of an object. Raises: ObjectCorrupt: it is not what the reference says. VisemaError."""
    content = bytearray()
    async for chunk in iterate_object(connection, reference):
        content += chunk
    _check(reference, hashlib.sha256(content).hexdigest(), len(content))
    return bytes(content)


async def download(connection: Connection, reference: common_pb2.ObjectRef, target: Path) -> None:
    """Write an object to a file, which appears only when it is complete and right.

    What arrives goes to `TARGET.<hash>.part`; a download that was interrupted goes on from there.

    Raises: ObjectCorrupt: the content is not what the reference says. OSError: the file cannot be written. VisemaError.
    """
    part = target.with_name(f"{target.name}.{reference.sha256[:12]}.part")
    with await asyncio.to_thread(part.open, "a+b") as file:
        digest = await asyncio.to_thread(_digest_so_far, file, reference.size_bytes)
        async for chunk in iterate_object(connection, reference, offset_bytes=file.tell()):
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        size_bytes = file.tell()
    try:
        _check(reference, digest.hexdigest(), size_bytes)
    except ObjectCorrupt:
        part.unlink()  # never go on from something wrong
        raise
    part.replace(target)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def _digest_so_far(file: BinaryIO, size_bytes: int) -> _Digest:
    """Hash what an earlier attempt wrote and stand at its end; more than the object has cannot be of it."""
    digest = hashlib.sha256()
    if file.seek(0, os.SEEK_END) > size_bytes:
        file.truncate(0)
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        digest.update(piece)
    return digest


def _check(reference: common_pb2.ObjectRef, sha256: str, size_bytes: int) -> None:
    if size_bytes != reference.size_bytes or sha256 != reference.sha256:
        raise ObjectCorrupt("the download does not have the content that the server announced; try again")
