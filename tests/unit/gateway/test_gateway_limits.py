"""Bodies that are too large, too slow or malformed; callers that ask too often."""

from __future__ import annotations

import asyncio
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
from visema_gateway.api.rates import RateLimit

MEBIBYTE = 1 << 20


def resident_bytes() -> int:
    """Memory of this process, in which the gateway runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def raw(url: str, lines: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = urlsplit(url).netloc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(lines)
    await writer.drain()
    return reader, writer


async def test_a_body_that_announces_500_mb_is_refused_before_it_is_sent(web: httpx.AsyncClient) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    reader, writer = await raw(str(web.base_url), head + b"Content-Length: 524288000\r\n\r\n")
    reply = await asyncio.wait_for(reader.read(), 5)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in reply.lower()
    writer.close()


async def test_a_body_without_length_is_cut_at_the_limit_without_growing(web: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="audio"; filename="../../x"\r\n\r\n'
        for _ in range(500):
            sent += MEBIBYTE
            yield bytes(MEBIBYTE)

    before = resident_bytes()
    try:
        reply = await web.post(
            "/generate", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
        assert reply.status_code == 413
    except httpx.TransportError:
        pass  # the gateway ended the connection while we were still sending: early enough
    assert sent < 60 * MEBIBYTE
    assert resident_bytes() - before < 50 * MEBIBYTE


async def test_slow_bodies_and_slow_headers_are_cut_off(
    orchestrator: tuple[str, FakeOrchestrator], tmp_path: Path
) -> None:
    async with serving(orchestrator[0], tmp_path, idle_timeout_s=0.5) as url:
        head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        body_reader, body_writer = await raw(url, head + b"Content-Length: 1000\r\n\r\n--b\r\n")
        head_reader, head_writer = await raw(url, b"GET / HTTP/1.1\r\nX-Slow: ")
        reply = await asyncio.wait_for(body_reader.read(), 10)
        assert reply.startswith(b"HTTP/1.1 408")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(head_reader.readexactly(1), 10)
        body_writer.close()
        head_writer.close()


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
        serving(orchestrator[0], tmp_path, read_rate_per_s=2.0, rate_burst_s=1.0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as web,
    ):
        replies = [await web.get("/config") for _ in range(8)]
        refused = [reply for reply in replies if reply.status_code == 429]
        assert 4 <= len(refused) <= 6
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json()["reason"] == "RATE_LIMITED"
        assert (await web.get("/health")).status_code in {200, 503}  # probes are never limited
        forged = [await web.get("/config", headers={"Authorization": f"Bearer {n:020}"}) for n in range(8)]
        assert 429 in {reply.status_code for reply in forged}  # new tokens give no new rate


def test_a_token_bucket_gives_its_burst_and_then_its_rate() -> None:
    limit = RateLimit(rate_per_s=10, burst_s=2)
    assert [limit.wait_s("x", 0.0) for _ in range(20)] == [0.0] * 20
    assert limit.wait_s("x", 0.0) == pytest.approx(0.1)
    assert limit.wait_s("y", 0.0) == 0.0
    assert limit.wait_s("x", 0.1) == 0.0


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
