"""The encoder on a real S3 server, and objects for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.encoding import Inputs
from support.seaweed import S3Server
from visema.encoding.v1 import encoding_pb2_grpc
from visema_encoder.__main__ import service_spec
from visema_encoder.settings import EncoderSettings
from visema_kit.channel import open_channel
from visema_kit.objects import ObjectStore
from visema_kit.server import serve


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
async def service(
    s3_server: S3Server, scratch: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[encoding_pb2_grpc.EncodingServiceAsyncStub]:
    variables = s3_server.environment() | {"VISEMA_SCRATCH_DIR": str(scratch)} | getattr(request, "param", {})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with serve(await service_spec(EncoderSettings())) as running, open_channel(running.address) as channel:
        yield encoding_pb2_grpc.EncodingServiceStub(channel)


@pytest.fixture
def inputs(object_store: ObjectStore) -> Inputs:
    return Inputs(object_store)
