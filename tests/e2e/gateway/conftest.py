"""A gateway process in front of the whole real stack."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from support.gateway import process


@pytest.fixture(scope="session")
def gateway_url(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a gateway that the session shares."""
    with process(stack, tmp_path_factory.mktemp("gateway")) as (url, _):
        yield url


@pytest.fixture
def web(gateway_url: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=gateway_url, timeout=60, trust_env=False) as client:
        yield client
