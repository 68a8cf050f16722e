"""The object store's contract, against a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import minio
import pytest
import urllib3
from visema.common.v1 import common_pb2
from visema_kit import keys, s3
from visema_kit.errors import (
    ForeignObject,
    InvalidInput,
    MediaTooLarge,
    ObjectCorrupt,
    ObjectMismatch,
    ObjectNotFound,
)
from visema_kit.objects import PART_BYTES, ObjectStore, StoreConfig

MEBIBYTE = 1024 * 1024


def raw_put(raw: minio.Minio, ref_bucket: str, key: str, content: bytes, sha256: str = "") -> None:
    metadata = {s3.SHA256_KEY: sha256} if sha256 else None
    raw.put_object(ref_bucket, key, io.BytesIO(content), len(content), metadata=metadata)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def everything_below(raw: minio.Minio, bucket: str, tenant: str) -> list[str]:
    found = []
    for kind in keys.KINDS:
        listed = await asyncio.to_thread(
            lambda kind=kind: list(raw.list_objects(bucket, f"{kind}/{tenant}/", recursive=True))
        )
        found += [entry.object_name for entry in listed]
    return found


def changed(ref: common_pb2.ObjectRef, **fields: object) -> common_pb2.ObjectRef:
    other = common_pb2.ObjectRef()
    other.CopyFrom(ref)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


# Writing and reading


async def test_what_is_put_can_be_read_with_its_reference(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "text/plain")
    assert (ref.bucket, ref.key) == (object_store.bucket, f"media/{tenant}/a")
    assert (ref.sha256, ref.size_bytes) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert ref.media_type == "text/plain"
    assert await object_store.get(ref, tenant, 5) == b"hello"


async def test_stat_gives_the_same_reference_without_reading(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "video/x-matroska")
    assert await object_store.stat(ref.key) == ref
    assert await object_store.stat(keys.media_key(tenant, "missing")) is None


async def test_putting_the_same_content_again_changes_nothing(object_store: ObjectStore, tenant: str) -> None:
    key = keys.media_key(tenant, "a")
    assert await object_store.put(key, b"x", "a/b") == await object_store.put(key, b"x", "a/b")


async def test_an_empty_object_is_an_object(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "empty"), b"", "a/b")
    assert await object_store.get(ref, tenant) == b""
    assert [piece async for piece in await object_store.iter_range(ref, tenant)] == []


async def test_many_operations_run_at_once(object_store: ObjectStore, tenant: str) -> None:
    async def there_and_back(n: int) -> bytes:
        ref = await object_store.put(keys.media_key(tenant, f"n{n}"), bytes([n]) * 1000, "a/b")
        return await object_store.get(ref, tenant)

    assert await asyncio.gather(*map(there_and_back, range(50))) == [bytes([n]) * 1000 for n in range(50)]


# What is refused


async def test_a_foreign_reference_is_refused_before_anything_is_sent(store_config: StoreConfig, tenant: str) -> None:
    """The store of this test does not exist: only a check before I/O can answer."""
    store = ObjectStore(replace(store_config, endpoint="http://127.0.0.1:1"))
    ref = common_pb2.ObjectRef(bucket=store.bucket, key=keys.media_key("other", "a"), sha256="0" * 64, size_bytes=1)
    for refused in (
        store.get(ref, tenant),
        store.get(changed(ref, bucket="elsewhere"), "other"),
        store.get(changed(ref, key=f"media/{tenant}/../other/a"), tenant),
        store.iter_range(ref, tenant),
        store.copy(changed(ref, bucket="elsewhere"), keys.media_key("other", "b")),
        store.presign_get(changed(ref, bucket="elsewhere"), 60),
        store.put("secret/other/a", b"", "a/b"),
        store.stat("../a"),
        store.delete("media/a"),
        store.delete_prefix("media/"),
        store.delete_prefix("jobs/other"),
        store.delete_prefix("/"),
        store.presign_put("x", 60),
    ):
        with pytest.raises(ForeignObject):
            await refused
    await store.aclose()


async def test_a_reference_with_a_wrong_hash_or_size_is_the_clients_fault(
    object_store: ObjectStore, tenant: str
) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "a/b")
    for wrong in (changed(ref, sha256="0" * 64), changed(ref, size_bytes=4), changed(ref, size_bytes=6)):
        with pytest.raises(ObjectMismatch):
            await object_store.get(wrong, tenant)
        with pytest.raises(ObjectMismatch):
            await object_store.iter_range(wrong, tenant)
        with pytest.raises(ObjectMismatch):
            await object_store.copy(wrong, keys.media_key(tenant, "b"))
    assert await object_store.stat(keys.media_key(tenant, "b")) is None


async def test_other_bytes_than_were_written_are_the_stores_fault(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "a/b")
    raw_put(raw, object_store.bucket, ref.key, b"jello", ref.sha256)
    with pytest.raises(ObjectCorrupt):
        await object_store.get(ref, tenant)
    with pytest.raises(ObjectCorrupt):
        async for _ in await object_store.iter_range(ref, tenant):
            pass


async def test_a_missing_object_is_not_found(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "a/b")
    await object_store.delete(ref.key)
    await object_store.delete(ref.key)
    for missing in (
        object_store.get(ref, tenant),
        object_store.iter_range(ref, tenant),
        object_store.copy(ref, keys.media_key(tenant, "b")),
    ):
        with pytest.raises(ObjectNotFound):
            await missing


async def test_more_than_the_limit_is_not_read(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "a/b")
    with pytest.raises(MediaTooLarge):
        await object_store.get(ref, tenant, 4)


# Ranges


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (1, 0), (700_000, 5), (1_000_000, 0), (10, 600_000)])
async def test_ranges_hold_what_was_asked_for(object_store: ObjectStore, tenant: str, offset: int, length: int) -> None:
    content = bytes(range(250)) * 4000
    ref = await object_store.put(keys.media_key(tenant, "a"), content, "a/b")
    read = [piece async for piece in await object_store.iter_range(ref, tenant, offset, length)]
    assert b"".join(read) == content[offset : offset + length if length else None]
    assert all(len(piece) <= s3.CHUNK_BYTES for piece in read)


@pytest.mark.parametrize(("offset", "length"), [(-1, 0), (0, 6), (6, 0), (5, 1), (0, -1)])
async def test_ranges_outside_the_object_are_refused(
    object_store: ObjectStore, tenant: str, offset: int, length: int
) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "a/b")
    with pytest.raises(InvalidInput):
        await object_store.iter_range(ref, tenant, offset, length)


async def test_a_reader_that_stops_early_does_not_spoil_the_connection(object_store: ObjectStore, tenant: str) -> None:
    content = bytes(5 * MEBIBYTE)
    ref = await object_store.put(keys.media_key(tenant, "a"), content, "a/b")
    for _ in range(40):  # more than there are connections
        async with aclosing(await object_store.iter_range(ref, tenant)) as reading:
            await anext(reading)
    assert await object_store.get(ref, tenant) == content


# Streams in


@pytest.mark.parametrize(
    "size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 12345]
)
async def test_a_stream_is_stored_with_its_hash_and_nothing_else(
    object_store: ObjectStore, tenant: str, raw: minio.Minio, size: int
) -> None:
    content = (b"0123456789abcde" * (size // 15 + 1))[:size]
    step = 700_001
    parts = [content[start : start + step] for start in range(0, size, step)]
    key = keys.media_key(tenant, "stream")
    ref = await object_store.put_stream(key, pieces(*parts), "video/mp4", size)
    assert (ref.sha256, ref.size_bytes) == (hashlib.sha256(content).hexdigest(), size)
    assert await object_store.stat(key) == ref
    assert await object_store.get(ref, tenant) == content
    assert await everything_below(raw, object_store.bucket, tenant) == [key]


async def nothing_left(raw: minio.Minio, store: ObjectStore, tenant: str) -> bool:
    pending = await asyncio.to_thread(raw._list_multipart_uploads, store.bucket, prefix=f"uploads/{tenant}/")
    return not pending.uploads and await everything_below(raw, store.bucket, tenant) == []


async def test_a_stream_beyond_the_limit_leaves_nothing_behind(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    key = keys.media_key(tenant, "stream")
    for limit in (5, PART_BYTES + 5):
        with pytest.raises(MediaTooLarge) as caught:
            await object_store.put_stream(key, pieces(*[bytes(MEBIBYTE)] * 12), "a/b", limit)
        assert caught.value.metadata == {"max_bytes": str(limit)}
        assert await nothing_left(raw, object_store, tenant)


async def test_a_stream_that_breaks_leaves_nothing_behind(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES + 1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await object_store.put_stream(keys.media_key(tenant, "stream"), breaking(), "a/b", 10**9)
    assert await nothing_left(raw, object_store, tenant)


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    waiting = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield bytes(2 * PART_BYTES + 1)
        waiting.set()
        await asyncio.Event().wait()

    storing = asyncio.create_task(object_store.put_stream(keys.media_key(tenant, "stream"), stuck(), "a/b", 10**9))
    await waiting.wait()
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert await nothing_left(raw, object_store, tenant)


async def test_a_stream_that_is_cancelled_while_a_part_is_on_its_way_leaves_nothing_behind(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    for delay_s in (0.0, 0.002, 0.01, 0.03, 0.06, 0.1, 0.15):
        parts = pieces(*[bytes(PART_BYTES)] * 3)
        storing = asyncio.create_task(object_store.put_stream(keys.media_key(tenant, "stream"), parts, "a/b", 10**9))
        await asyncio.sleep(delay_s)
        storing.cancel()
        try:
            await storing
        except asyncio.CancelledError:
            left = await everything_below(raw, object_store.bucket, tenant)
            assert left in ([], [keys.media_key(tenant, "stream")])  # the copy may have been made already
            await object_store.delete(keys.media_key(tenant, "stream"))
            assert await nothing_left(raw, object_store, tenant)


# Copies and uploads


async def test_a_copy_has_the_same_content_and_hash(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.media_key(tenant, "a"), b"hello", "text/plain")
    copied = await object_store.copy(ref, keys.avatar_key(tenant, "av", "portrait"))
    assert copied == changed(ref, key=copied.key)
    assert await object_store.stat(copied.key) == copied
    assert await object_store.get(copied, tenant) == b"hello"
    typed = await object_store.copy(ref, keys.avatar_key(tenant, "av", "typed"), "image/png")
    assert await object_store.stat(typed.key) == typed
    assert typed.media_type == "image/png"


def http_put(url: str, content: bytes) -> int:
    return urllib3.request("PUT", url, body=content).status


async def test_an_upload_is_taken_over_with_its_hash(object_store: ObjectStore, tenant: str, raw: minio.Minio) -> None:
    upload, key = keys.upload_key(tenant, "u1"), keys.media_key(tenant, "m1")
    url = await object_store.presign_put(upload, 60)
    assert await asyncio.to_thread(http_put, url, b"speech") == 200
    stat = await object_store.stat(upload)
    assert stat is not None
    assert (stat.sha256, stat.size_bytes) == ("", 6)
    ref = await object_store.adopt(upload, key, lambda first: f"audio/x-{first.decode()}", 6)
    assert ref.media_type == "audio/x-speech"
    assert (ref.sha256, ref.size_bytes) == (hashlib.sha256(b"speech").hexdigest(), 6)
    assert await object_store.stat(key) == ref
    assert await object_store.get(ref, tenant) == b"speech"
    assert await asyncio.to_thread(http_put, url, b"other!") == 200  # the address still works, but reaches nothing
    assert await object_store.get(ref, tenant) == b"speech"
    await object_store.delete(upload)
    assert await everything_below(raw, object_store.bucket, tenant) == [key]


async def test_an_upload_that_is_missing_or_too_large_is_refused(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    upload, key = keys.upload_key(tenant, "u1"), keys.media_key(tenant, "m1")
    with pytest.raises(ObjectNotFound):
        await object_store.adopt(upload, key, lambda _: "audio/wav", 6)
    raw_put(raw, object_store.bucket, upload, b"speech!")
    with pytest.raises(MediaTooLarge):
        await object_store.adopt(upload, key, lambda _: "audio/wav", 6)
    assert await everything_below(raw, object_store.bucket, tenant) == []


async def test_a_presigned_download_names_the_file(object_store: ObjectStore, tenant: str) -> None:
    ref = await object_store.put(keys.result_key(tenant, "j", "video.mp4"), b"movie", "video/mp4")
    url = await object_store.presign_get(ref, 60, 'Моё "видео".mp4')
    response = await asyncio.to_thread(urllib3.request, "GET", url)
    assert (response.status, response.data) == (200, b"movie")
    assert response.headers["content-type"] == "video/mp4"
    disposition = response.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=\"___ _______.mp4\"; filename*=UTF-8''%D0%9C")
    tampered = await asyncio.to_thread(urllib3.request, "GET", url.replace("video.mp4?", "other.mp4?"))
    assert tampered.status == 403


async def test_presigned_addresses_are_made_for_the_public_endpoint(store_config: StoreConfig, tenant: str) -> None:
    store = ObjectStore(replace(store_config, endpoint="http://127.0.0.1:1", public_endpoint="https://media.example"))
    url = await store.presign_put(keys.upload_key(tenant, "u"), 60)
    assert url.startswith(f"https://media.example/{store.bucket}/uploads/{tenant}/u?")
    await store.aclose()


# Deleting


async def test_everything_below_a_prefix_goes_and_nothing_else(
    object_store: ObjectStore, tenant: str, raw: minio.Minio
) -> None:
    for work_id in ("j1", "j10"):
        for n in range(3):
            await object_store.put(keys.job_key(tenant, work_id, "wav2lip", f"{n}.mkv"), b"x", "a/b")
    assert await object_store.delete_prefix(keys.job_prefix(tenant, "j1")) == 3
    assert await object_store.delete_prefix(keys.job_prefix(tenant, "j1")) == 0
    left = await everything_below(raw, object_store.bucket, tenant)
    assert left == [f"jobs/{tenant}/j10/wav2lip/{n}.mkv" for n in range(3)]


async def test_a_prefix_with_more_objects_than_a_page_goes_too(store_config: StoreConfig, tenant: str) -> None:
    store = ObjectStore(store_config)
    keys_made = [keys.job_key(tenant, "j", f"{n}") for n in range(1100)]
    await asyncio.gather(*(store.put(key, b"", "a/b") for key in keys_made))
    assert await store.delete_prefix(keys.job_prefix(tenant, "j")) == 1100
    await store.aclose()
