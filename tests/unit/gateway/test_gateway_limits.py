"""Bodies that are too large, too slow or malformed; callers that ask too often."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_orchestrator import FakeOrchestrator
from support.gateway import serving
from visema_gateway.api.media import wanted_range

MEBIBYTE = 1 << 20
PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed


def resident_bytes() -> int:
    """Memory of this process, in which the gateway runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def raw(url: str, lines: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = urlsplit(url).netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(lines)
    await writer.drain()
    return reader, writer


async def last_reply(reader: asyncio.StreamReader) -> bytes:
    """The head of the reply after which the server ends the connection; what we still sent may end it by a reset."""
    async with asyncio.timeout(PATIENCE_S):
        start = await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return start


FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
FILE_FIELDS = {
    "/generate": "audio",
    "/avatar/upload": "image",
    "/avatar/animate": "audio",
    "/v1/uploads": "portrait",
    "/v1/avatars": "image",
}
JSON_PATHS = ("/avatar/animate", "/v1/jobs")
MISLABELLED = ("/v1/jobs", FORM)  # takes JSON, whatever the request says
BODIES = [*((path, FORM) for path in FILE_FIELDS), *((path, JSON) for path in JSON_PATHS), MISLABELLED]


def start_of_body(path: str, content_type: str) -> bytes:
    if content_type == JSON:
        return b'{"text": "'
    name = FILE_FIELDS.get(path, "audio")
    disposition = f'form-data; name="{name}"; filename="../../x"'
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode()


def head(path: str, content_type: str, more: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{more}\r\n\r\n".encode()


@pytest.mark.parametrize(("path", "content_type"), BODIES)
async def test_a_body_that_announces_500_mb_is_refused_before_it_is_sent(
    web: httpx.AsyncClient, path: str, content_type: str
) -> None:
    reader, writer = await raw(str(web.base_url), head(path, content_type, "Content-Length: 524288000"))
    reply = await last_reply(reader)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in reply.lower()
    writer.close()


@pytest.mark.parametrize(("path", "content_type"), BODIES)
async def test_a_body_without_length_is_cut_at_the_limit_without_growing(
    web: httpx.AsyncClient, path: str, content_type: str
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield start_of_body(path, content_type)
        for _ in range(500):
            sent += MEBIBYTE
            yield b"x" * MEBIBYTE

    before = resident_bytes()
    try:
        reply = await web.post(path, content=endless(), headers={"Content-Type": content_type})
        assert reply.status_code == 413
    except httpx.TransportError:
        pass  # the gateway ended the connection while we were still sending: early enough
    assert sent < 60 * MEBIBYTE
    assert resident_bytes() - before < 50 * MEBIBYTE


async def test_slow_bodies_and_slow_headers_are_cut_off(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with serving(orchestrator[0], tmp_path, idle_timeout_s=0.5) as url:
        head_reader, head_writer = await raw(url, b"GET / HTTP/1.1\r\nX-Slow: ")
        for path, content_type in BODIES:
            body_reader, body_writer = await raw(url, head(path, content_type, "Content-Length: 1000") + b"--b\r\n")
            assert (await last_reply(body_reader)).startswith(b"HTTP/1.1 408"), path
            body_writer.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(head_reader.readexactly(1), PATIENCE_S)
        head_writer.close()


@pytest.mark.parametrize(("path", "content_type"), [("/generate", FORM), ("/v1/jobs", JSON)])
async def test_a_body_that_trickles_for_too_long_is_cut_off(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path, path: str, content_type: str
) -> None:
    async with serving(orchestrator[0], tmp_path, upload_timeout_s=0.5) as url:  # no pause reaches the idle timeout
        reader, writer = await raw(url, head(path, content_type, "Content-Length: 1000"))
        writer.write(start_of_body(path, content_type))
        answer = asyncio.create_task(last_reply(reader))
        while not answer.done():
            writer.write(b"-")
            await asyncio.sleep(0.1)
        assert answer.result().startswith(b"HTTP/1.1 408")
        writer.close()


async def test_more_uploads_than_slots_are_told_when_to_come_back(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, upload_slots=1, idle_timeout_s=30) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        slow: list[asyncio.StreamWriter] = []

        async def upload() -> httpx.Response:
            return await web.post("/v1/uploads", files={"portrait": ("p.jpg", b"\xff\xd8 x")})

        async with asyncio.timeout(PATIENCE_S):
            while (refused := await upload()).status_code != 429:  # a slow one that met ours was refused itself
                slow.append((await raw(url, head("/v1/uploads", FORM, "Content-Length: 1000") + b"--b\r\n"))[1])
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["reason"] == "RESOURCE_EXHAUSTED"
            for writer in slow:
                writer.close()
            while (await upload()).status_code != 201:  # its place is free again
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="' + b"n" * 20_000 + b'"\r\n\r\nx\r\n--b--\r\n',
        b"".join(b'--b\r\nContent-Disposition: form-data; name="n%d"\r\n\r\nx\r\n' % n for n in range(200)) + b"--b--",
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"t" * 100_000 + b"\r\n--b--\r\n",
    ],
)
async def test_malformed_forms_are_refused(web: httpx.AsyncClient, body: bytes) -> None:
    reply = await web.post("/generate", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert reply.status_code in {400, 413, 422}
    assert reply.json()["reason"]


async def test_fuzzed_forms_never_fail_the_server(web: httpx.AsyncClient) -> None:
    part = st.tuples(st.binary(max_size=60), st.binary(max_size=200))

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(part, max_size=5), st.binary(max_size=60))
    def bodies(parts: list[tuple[bytes, bytes]], rest: bytes) -> None:
        collected.append(b"".join(b"--b\r\n" + head + b"\r\n\r\n" + text + b"\r\n" for head, text in parts) + rest)

    collected: list[bytes] = []
    bodies()
    for body in collected:
        reply = await web.post("/generate", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert 400 <= reply.status_code < 500


async def test_names_of_files_never_reach_the_disk(
    web: httpx.AsyncClient, tmp_path: Path, orchestrator: tuple[str, FakeOrchestrator]
) -> None:
    files = {"image": ("../../../../tmp/evil.jpg", b"\xff\xd8 x"), "audio": ("/etc/passwd\x00.wav", b"RIFF")}
    assert (await web.post("/generate", files=files)).status_code == 202
    assert not Path("/tmp/evil.jpg").exists()


async def test_a_caller_that_asks_too_often_is_told_when_to_come_back(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, read_rate_per_s=0.01, rate_burst_s=200.0) as url,  # two, then one in 100 s
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        replies = [await web.get("/config") for _ in range(8)]
        refused = [reply for reply in replies if reply.status_code == 429]
        assert len(refused) == 6
        assert 0 < int(refused[0].headers["retry-after"]) <= 100
        assert refused[0].json()["reason"] == "RATE_LIMITED"
        assert (await web.get("/health")).status_code == 200  # probes are never limited
        forged = [await web.get("/config", headers={"Authorization": f"Bearer {n:020}"}) for n in range(8)]
        assert 429 in {reply.status_code for reply in forged}  # new tokens give no new rate


@given(st.one_of(st.none(), st.text(max_size=40), st.from_regex(r"bytes=\d{0,6}-\d{0,6}", fullmatch=True)))
def test_any_range_header_gives_a_range_inside_the_object(header: str | None) -> None:
    try:
        part = wanted_range(header, 1000)
    except ValueError:
        return
    if part is not None:
        first, length = part
        assert 0 <= first < 1000
        assert 0 < length <= 1000 - first


async def test_no_server_errors_for_arbitrary_json(web: httpx.AsyncClient) -> None:
    for body in ("null", "[]", '"\\ud800"', '{"avatar_id":"a","text":"\\ud800"}', '{"a":' * 2000, "1e999", "{"):
        for path in ("/v1/jobs", "/avatar/animate"):
            reply = await web.post(path, content=body, headers={"Content-Type": "application/json"})
            assert 400 <= reply.status_code < 500, (path, body[:40], reply.text)
            assert json.loads(reply.text)["reason"]
