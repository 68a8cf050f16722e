"""Uploads over a slow network: as long as it moves, an upload may take much longer than connecting may."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from visema_kit import http_pool, s3
from visema_kit.errors import StoreUnavailable
from visema_kit.objects import ObjectStore, StoreConfig

CONTENT = bytes(range(256)) * (48 * 1024)  # 12 MiB: much more than a system keeps on its way
BUFFER_BYTES = 64 * 1024
BYTES_PER_S = 2_000_000
CONNECT_S = 1.0
PAUSE_S = 1.5  # once, in the middle
PIECE_S = 3.0  # a piece takes 0.03 s or the pause, the whole 7 s


class SlowStore:
    """Reads uploads as slowly as a bad network brings them; a `stuck` one reads nothing after the headers.

    Attributes:
        uploads: How many were begun.
        received: SHA-256 of each whole content, and the seconds that it took.
        broken: How many ended in the middle.
    """

    def __init__(self, *, stuck: bool = False) -> None:
        self.uploads = 0
        self.received: list[tuple[str, float]] = []
        self.broken = 0
        self._stuck = stuck

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            self.uploads += 1
            if self._stuck:
                await asyncio.Event().wait()
            started, digest = time.monotonic(), hashlib.sha256()
            left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            pausing_at = left // 2
            while left:
                if left <= pausing_at:
                    pausing_at = 0
                    await asyncio.sleep(PAUSE_S)
                piece = await reader.readexactly(min(left, BUFFER_BYTES))
                digest.update(piece)
                left -= len(piece)
                await asyncio.sleep(len(piece) / BYTES_PER_S)
            self.received.append((digest.hexdigest(), time.monotonic() - started))
            writer.write(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            self.broken += 1
        finally:
            writer.close()


@asynccontextmanager
async def running(slow: SlowStore, folder: Path, *, tls: bool = False) -> AsyncIterator[ObjectStore]:
    """The slow store, and a client of it. Args: folder: for its CA."""
    context, authority_file = None, None
    if tls:
        authority, authority_file = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(authority_file)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0, limit=BUFFER_BYTES, ssl=context)
    endpoint = f"http{'s' * tls}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = ObjectStore(StoreConfig(endpoint, "access", "secret-key", "bucket", ca_file=authority_file))
    try:
        yield store
    finally:
        await store.aclose()
        server.close()


async def upload(store: ObjectStore) -> None:
    """One large request."""
    await store._run(store._s3.add_part, "media/tenant/a", "upload", 1, CONTENT)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_an_upload_may_take_longer_than_connecting_and_than_each_of_its_pieces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, tls: bool
) -> None:
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_S", CONNECT_S)
    monkeypatch.setattr(http_pool, "SEND_TIMEOUT_S", PIECE_S)
    slow = SlowStore()
    async with running(slow, tmp_path, tls=tls) as store:
        await upload(store)
    assert slow.uploads == 1, "it was begun again"
    [(sha256, took_s)] = slow.received
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert took_s > PIECE_S


async def test_an_upload_that_does_not_move_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(http_pool, "SEND_TIMEOUT_S", 0.2)
    slow = SlowStore(stuck=True)
    async with running(slow, tmp_path) as store:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await upload(store)
    assert slow.uploads == 1 + s3.RETRIES.total


async def test_an_upload_that_is_cancelled_stops_in_the_middle(tmp_path: Path) -> None:
    slow = SlowStore()
    async with running(slow, tmp_path) as store:
        uploading = asyncio.create_task(upload(store))
        while not slow.uploads:
            await asyncio.sleep(0.01)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        while not (slow.broken or slow.received):
            await asyncio.sleep(0.01)
    assert not slow.received, "the store got all of it"
    assert slow.uploads == 1, "it was begun again"
