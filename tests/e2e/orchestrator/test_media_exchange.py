"""MediaService: uploads in pieces and over presigned addresses, downloads with ranges."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request

import grpc
import pytest
from harness import Client, reason_of, speech_wav
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import media_pb2
from visema_orchestrator import media_service

AUDIO, PORTRAIT = media_pb2.MEDIA_KIND_AUDIO, media_pb2.MEDIA_KIND_PORTRAIT


async def send(client: Client, header: media_pb2.UploadHeader | None, *chunks: bytes) -> common_pb2.ObjectRef:
    async def requests():
        if header is not None:
            yield media_pb2.UploadRequest(header=header)
        for chunk in chunks:
            yield media_pb2.UploadRequest(chunk=chunk)

    return (await client.media.Upload(requests())).object


async def refusal(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def put(url: str, content: bytes) -> None:
    request = urllib.request.Request(url, data=content, method="PUT")
    await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())


async def test_a_file_in_pieces_becomes_one_object_named_by_its_content(client: Client) -> None:
    content = speech_wav(3)
    header = media_pb2.UploadHeader(kind=AUDIO, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    ref = await send(client, header, content[:1000], content[1000:])
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert ref.key == f"media/default/{ref.sha256}"
    assert ref.media_type == "audio/wav"
    assert await send(client, media_pb2.UploadHeader(kind=AUDIO), content) == ref


async def test_uploads_that_do_not_keep_their_word_are_refused(client: Client) -> None:
    content = b"x" * 1000
    kind = {"kind": AUDIO}
    assert await refusal(send(client, None, content)) == "INVALID_INPUT"
    assert await refusal(send(client, media_pb2.UploadHeader(), content)) == "INVALID_INPUT"
    assert await refusal(send(client, media_pb2.UploadHeader(**kind))) == "INVALID_INPUT"
    assert await refusal(send(client, media_pb2.UploadHeader(**kind, size_bytes=999), content)) == "OBJECT_MISMATCH"
    assert await refusal(send(client, media_pb2.UploadHeader(**kind, sha256="0" * 64), content)) == "OBJECT_MISMATCH"


@pytest.mark.parametrize("limit", ["LONGEST_PAUSE_S", "LONGEST_UPLOAD_S"])
async def test_files_that_do_not_come_to_an_end_keep_no_turn_from_others(
    client: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    async def requests():
        yield media_pb2.UploadRequest(header=media_pb2.UploadHeader(kind=AUDIO))
        while True:
            yield media_pb2.UploadRequest(chunk=b"x")
            await asyncio.sleep(0.01 if limit == "LONGEST_UPLOAD_S" else 60)

    with monkeypatch.context() as patched:
        patched.setattr(media_service, limit, 0.2)
        stuck = [refusal(client.media.Upload(requests())) for _ in range(2 * media_service.UPLOADS_AT_ONCE)]
        assert set(await asyncio.gather(*stuck)) == {"DEADLINE_EXCEEDED"}
    assert (await send(client, media_pb2.UploadHeader(kind=AUDIO), b"a file")).size_bytes == 6


async def test_files_over_the_limit_are_refused_by_their_size_or_while_they_come(client: Client) -> None:
    announced = media_pb2.UploadHeader(kind=PORTRAIT, size_bytes=(5 << 20) + 1)
    assert await refusal(send(client, announced, b"x")) == "IMAGE_TOO_LARGE"
    pieces = [b"x" * (1 << 20)] * 6
    assert await refusal(send(client, media_pb2.UploadHeader(kind=PORTRAIT), *pieces)) == "IMAGE_TOO_LARGE"


async def test_a_presigned_upload_is_taken_over_once_and_later_puts_change_nothing(client: Client) -> None:
    content = speech_wav(1)
    upload = await client.media.CreateUpload(media_pb2.CreateUploadRequest(kind=AUDIO))
    assert upload.max_size_bytes == 25 << 20
    await put(upload.upload_url, content)
    request = media_pb2.CompleteUploadRequest(upload_id=upload.upload_id)
    ref = (await client.media.CompleteUpload(request)).object
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert ref.key.startswith("media/default/")
    assert ref.media_type == "audio/wav"
    await put(upload.upload_url, b"something else")  # the address still works
    assert (await client.media.CompleteUpload(request)).object == ref
    assert await download(client, ref) == content


async def test_an_upload_that_never_came_or_is_too_large_is_refused(client: Client) -> None:
    upload = await client.media.CreateUpload(media_pb2.CreateUploadRequest(kind=PORTRAIT))
    request = media_pb2.CompleteUploadRequest(upload_id=upload.upload_id)
    assert await refusal(client.media.CompleteUpload(request)) == "OBJECT_NOT_FOUND"
    await put(upload.upload_url, b"x" * ((5 << 20) + 1))
    assert await refusal(client.media.CompleteUpload(request)) == "IMAGE_TOO_LARGE"
    unknown = media_pb2.CompleteUploadRequest(upload_id="unknown")
    assert await refusal(client.media.CompleteUpload(unknown)) == "NOT_FOUND"


async def download(client: Client, ref: common_pb2.ObjectRef, offset: int = 0, length: int = 0) -> bytes:
    request = media_pb2.DownloadRequest(object=ref, offset_bytes=offset, length_bytes=length)
    content = b""
    async for reply in client.media.Download(request):
        content += reply.chunk
    return content


async def test_a_download_gives_the_object_or_a_part_of_it(client: Client) -> None:
    content = speech_wav(30)
    ref = await client.upload(content, AUDIO)
    assert await download(client, ref) == content
    assert await download(client, ref, 100_000) == content[100_000:]
    assert await download(client, ref, 5, 10) == content[5:15]
    assert await refusal(download(client, ref, len(content) + 1)) == "INVALID_INPUT"
