"""The bucket as a whole: its making, its rules, clearing out, faults; against a real S3 server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import uuid
from dataclasses import replace

import minio
import pytest
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from support.seaweed import S3Server
from visema.common.v1 import common_pb2
from visema_kit import keys, s3
from visema_kit.errors import StoreUnavailable
from visema_kit.metrics import Metrics
from visema_kit.objects import LONGEST_REFUSED_PAUSE_S, ObjectStore, StoreConfig

# Making it


async def test_the_bucket_is_made_once_with_a_rule_for_forgotten_objects(
    store_config: StoreConfig, raw: minio.Minio
) -> None:
    bucket = f"made-{uuid.uuid4().hex[:8]}"
    stores = [ObjectStore(replace(store_config, bucket=bucket)) for _ in range(3)]
    with pytest.raises(StoreUnavailable):
        await stores[0].check()
    await asyncio.gather(*(store.ensure_bucket() for store in stores))
    await stores[0].ensure_bucket()
    await stores[0].check()
    rules = {rule.rule_id: rule for rule in raw.get_bucket_lifecycle(bucket).rules}
    assert {name: (rule.rule_filter.prefix, rule.expiration.days) for name, rule in rules.items()} == {
        "visema-uploads": ("uploads/", 1),
        "visema-jobs": ("jobs/", 1),
    }
    for store in stores:
        await store.aclose()


async def test_the_nightly_job_puts_our_rules_back_and_keeps_those_of_others(
    s3_server: S3Server, store_config: StoreConfig, raw: minio.Minio
) -> None:
    bucket = f"made-{uuid.uuid4().hex[:8]}"
    store = ObjectStore(replace(store_config, bucket=bucket))
    await store.ensure_bucket()
    await store.aclose()
    theirs = Rule(ENABLED, rule_filter=Filter(prefix="audit/"), rule_id="theirs", expiration=Expiration(days=400))
    raw.set_bucket_lifecycle(bucket, LifecycleConfig([theirs]))
    result = subprocess.run(
        [sys.executable, "-P", "-m", "visema_kit.bucket"],
        env={**os.environ, **s3_server.environment(), "VISEMA_S3_BUCKET": bucket},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rules = {rule.rule_filter.prefix: rule.expiration.days for rule in raw.get_bucket_lifecycle(bucket).rules}
    assert rules == {"audit/": 400, "jobs/": 1, "uploads/": 1}
    assert all(f"{prefix} {days} d" in result.stdout for prefix, days in rules.items())


def test_the_nightly_job_says_why_it_failed(s3_server: S3Server) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "visema_kit.bucket"],
        env={**os.environ, **s3_server.environment(), "VISEMA_S3_SECRET_KEY": "wrong-secret-key"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "refused" in result.stderr
    assert "wrong-secret-key" not in result.stderr


async def test_a_store_that_refuses_is_asked_again_ever_more_rarely(
    store_config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(0)

    refusals = iter(range(9))

    def refuse_at_first() -> None:
        if next(refusals, None) is not None:
            raise StoreUnavailable("the object store refused the service: AccessDenied")

    store = ObjectStore(store_config)
    monkeypatch.setattr(store._s3, "ensure", refuse_at_first)
    monkeypatch.setattr("visema_kit.objects.asyncio.sleep", note)
    await store.wait_for_bucket()
    monkeypatch.undo()
    assert pauses == sorted(pauses)
    assert len(pauses) == 9
    assert pauses[-1] == LONGEST_REFUSED_PAUSE_S
    await store.aclose()


# Faults


async def test_a_store_that_does_not_answer_is_unavailable(store_config: StoreConfig, tenant: str) -> None:
    store = ObjectStore(replace(store_config, endpoint="http://127.0.0.1:1"))
    with pytest.raises(StoreUnavailable) as caught:
        await store.put(keys.media_key(tenant, "a"), b"x", "a/b")
    assert caught.value.retryable
    assert caught.value.retry_after_s > 0
    with pytest.raises(StoreUnavailable):
        await store.check()
    await store.aclose()


async def test_wrong_credentials_are_unavailable_and_stay_secret(store_config: StoreConfig, tenant: str) -> None:
    config = replace(store_config, secret_key="wrong-secret-key")
    assert "wrong-secret-key" not in repr(config)
    store = ObjectStore(config)
    with pytest.raises(StoreUnavailable) as caught:
        await store.put(keys.media_key(tenant, "a"), b"x", "a/b")
    assert "wrong-secret-key" not in str(caught.value)
    await store.aclose()


async def test_blocking_calls_leave_the_event_loop_alone(object_store: ObjectStore, tenant: str) -> None:
    loop_thread, seen = threading.current_thread(), set()
    original = object_store._s3.put

    def spying(*args: object) -> common_pb2.ObjectRef:
        seen.add(threading.current_thread())
        return original(*args)  # type: ignore[arg-type]

    object_store._s3.put = spying  # type: ignore[method-assign]
    await object_store.put(keys.media_key(tenant, "a"), b"x", "a/b")
    assert seen
    assert loop_thread not in seen


async def test_operations_and_faults_are_counted(store_config: StoreConfig, tenant: str) -> None:
    metrics = Metrics()
    store = ObjectStore(store_config, metrics)
    ref = await store.put(keys.media_key(tenant, "a"), b"x", "a/b")
    await store.get(ref, tenant)
    assert await store.stat(keys.media_key(tenant, "missing")) is None
    await store.aclose()
    broken = ObjectStore(replace(store_config, endpoint="http://127.0.0.1:1"), metrics)
    with pytest.raises(StoreUnavailable):
        await broken.stat(ref.key)
    await broken.aclose()
    value = metrics.registry.get_sample_value
    assert value("visema_object_store_seconds_count", {"operation": "put"}) == 1
    assert value("visema_object_store_seconds_count", {"operation": "stat"}) == 2
    failed = {"operation": "stat", "reason": "STORE_UNAVAILABLE"}
    assert value("visema_object_store_errors_total", failed) == 1


def test_no_wait_is_the_clients_default_of_five_minutes(store_config: StoreConfig) -> None:
    bucket = s3.S3Bucket(store_config)
    timeout = bucket._http.connection_pool_kw["timeout"]
    assert (timeout.connect_timeout, timeout.read_timeout) == (s3.CONNECT_TIMEOUT_S, s3.READ_TIMEOUT_S)
    bucket.close()
