"""Files up and objects down, over connections that break."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema.orchestrator.v1 import media_pb2
from visema_client import AsyncVisema
from visema_client.media import KnownFile
from visema_kit.errors import (
    InternalError,
    MediaNotAllowed,
    ObjectCorrupt,
    ObjectNotFound,
    StoreUnavailable,
    Unavailable,
)

CONTENT = os.urandom(700_000)
PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed

Fake = tuple[str, FakeOrchestrator]


async def test_a_file_arrives_with_its_size_and_hash(client: AsyncVisema, fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "portrait.jpg"
    path.write_bytes(CONTENT)
    reference = await client.upload_portrait(path)
    assert fake[1].objects[reference.key] == CONTENT
    assert fake[1].script.seen[0].kind == media_pb2.MEDIA_KIND_PORTRAIT


async def test_an_upload_that_breaks_in_the_middle_is_sent_again(client: AsyncVisema, script: Script) -> None:
    script.cut_uploads = 2
    reference = await client.upload_audio(CONTENT)
    assert reference.size_bytes == len(CONTENT)
    assert script.calls["Upload"] == 3


async def test_picture_and_speech_are_sent_at_once(client: AsyncVisema, script: Script) -> None:
    script.uploads_together = 2
    async with asyncio.timeout(PATIENCE_S):
        spec = await client.job_spec(b"a picture", CONTENT)
    sent = {spec.portrait.sha256, spec.audio.sha256}
    assert sent == {hashlib.sha256(content).hexdigest() for content in (b"a picture", CONTENT)}


async def test_a_refused_picture_ends_the_upload_of_the_speech(client: AsyncVisema, script: Script) -> None:
    script.uploads_together = 3  # the other one waits for ever
    script.faults["Upload"] = [MediaNotAllowed("no picture")]
    with pytest.raises(MediaNotAllowed):
        async with asyncio.timeout(PATIENCE_S):
            await client.job_spec(b"a picture", CONTENT)


async def test_what_is_known_about_a_file_is_not_found_out_again(
    client: AsyncVisema, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "speech.wav").write_bytes(CONTENT)
    known = KnownFile(tmp_path / "speech.wav", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (await client.upload_audio(known)).sha256 == known.sha256
    with pytest.raises(InternalError):  # the fake checks the hash: it is sent as it was given
        await client.upload_audio(replace(known, sha256="0" * 64))


async def test_a_refused_upload_is_not_sent_again(client: AsyncVisema, script: Script) -> None:
    with pytest.raises(MediaNotAllowed, match="playlist") as caught:
        await client.upload_audio(b"#EXTM3U\nfile:///etc/passwd")
    assert caught.value.field == "header"
    assert script.calls["Upload"] == 1


async def test_a_missing_file_is_an_os_error(client: AsyncVisema, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await client.upload_portrait(tmp_path / "missing.jpg")


async def test_a_reference_is_used_as_it_is(client: AsyncVisema, fake: Fake, script: Script) -> None:
    reference = fake[1].store(CONTENT, "image/png")
    assert await client.upload_portrait(reference) == reference
    assert not script.calls["Upload"]


async def test_a_broken_download_goes_on_where_it_was(
    client: AsyncVisema, fake: Fake, script: Script, tmp_path: Path
) -> None:
    script.cut_downloads = [100_000, 0, 250_000]
    reference = fake[1].store(CONTENT, "video/mp4")
    await client.download(reference, tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes() == CONTENT
    assert [request.offset_bytes for request in script.seen] == [0, 100_000, 100_000, 350_000]
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


async def test_an_interrupted_download_is_resumed_by_the_next_one(
    client: AsyncVisema, fake: Fake, script: Script, tmp_path: Path
) -> None:
    script.cut_downloads = [200_000, 0, 0, 0]
    reference = fake[1].store(CONTENT, "video/mp4")
    with pytest.raises(Unavailable):
        await client.download(reference, tmp_path / "video.mp4")
    assert not (tmp_path / "video.mp4").exists()
    script.seen.clear()
    await client.download(reference, tmp_path / "video.mp4")
    assert script.seen[0].offset_bytes == 200_000
    assert (tmp_path / "video.mp4").read_bytes() == CONTENT


async def test_wrong_content_never_becomes_a_file(
    client: AsyncVisema, fake: Fake, script: Script, tmp_path: Path
) -> None:
    script.corrupt = True
    reference = fake[1].store(CONTENT, "video/mp4")
    with pytest.raises(ObjectCorrupt):
        await client.download(reference, tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ObjectCorrupt):
        await client.read(reference)


async def test_a_range_of_an_object_can_be_read(client: AsyncVisema, fake: Fake, script: Script) -> None:
    script.cut_downloads = [90_000]
    reference = fake[1].store(CONTENT, "video/mp4")
    pieces = [piece async for piece in client.iterate_object(reference, offset_bytes=5, length_bytes=200_000)]
    assert b"".join(pieces) == CONTENT[5:200_005]


async def test_a_missing_object_is_said_at_once(client: AsyncVisema, fake: Fake, script: Script) -> None:
    reference = fake[1].store(CONTENT, "video/mp4")
    fake[1].objects.clear()
    with pytest.raises(ObjectNotFound):
        await client.read(reference)
    assert script.calls["Download"] == 1


async def test_retries_end_with_the_servers_own_error(client: AsyncVisema, fake: Fake, script: Script) -> None:
    script.faults["Upload"] = [StoreUnavailable("the store is down") for _ in range(9)]
    with pytest.raises(StoreUnavailable, match="the store is down"):
        await client.upload_audio(CONTENT)
    assert script.calls["Upload"] == 4
