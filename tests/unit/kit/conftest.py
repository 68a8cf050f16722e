"""What the tests of the object store share."""

from __future__ import annotations

import uuid

import minio
import pytest
from support.seaweed import S3Server


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def raw(s3_server: S3Server) -> minio.Minio:
    """A client that does what ours never does."""
    return minio.Minio(
        s3_server.endpoint.removeprefix("http://"),
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        secure=False,
        region=s3_server.region,
    )
