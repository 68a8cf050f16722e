"""The whole real stack, started once for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.real_stack import RealStack, running_stack_of
from support.seaweed import S3Server
from visema_client import Visema
from visema_client.localstack import LocalStack, LocalStackError, StackOptions
from visema_client.localstack.seaweed import find_weed


@pytest.fixture(scope="session")
def services(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """The real services as processes that a test may end, if it starts them again."""
    with running_stack_of(RealStack(tmp_path_factory.mktemp("services"), s3_server)) as stack:
        yield stack


@pytest.fixture(scope="session")
def running_stack() -> Iterator[LocalStack]:
    """Object store, stages and orchestrator as processes of their own, with embedded engines."""
    try:
        find_weed()
    except LocalStackError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    with LocalStack(StackOptions(variables={"VISEMA_ENGINE": "embedded"}, start_timeout_s=180)) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(running_stack: LocalStack) -> str:
    """Address of the orchestrator."""
    return running_stack.address


@pytest.fixture
def client(stack: str) -> Iterator[Visema]:
    """A client of the whole stack."""
    with Visema(stack) as client:
        yield client
