"""Tokens stand for tenants."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.servicers import SHAPES, Script, running_rig
from visema_kit.auth import TokenTable, current_tenant
from visema_kit.errors import Unauthenticated
from visema_kit.status import from_rpc_error

GOOD, OTHER = "good-token-0123456789", "other-token-0123456789"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({GOOD: "acme"}))
    return path


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


class Witness(Script):
    """Notes the tenant of each call."""

    tenant = ""

    async def act(self) -> None:
        self.tenant = current_tenant()


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_servicer_sees_the_tokens_tenant(shape: str, tokens_file: Path) -> None:
    witness = Witness()
    async with running_rig(witness, tokens=TokenTable(tokens_file)) as rig:
        await rig.call(shape, metadata=bearer(GOOD))
    assert witness.tenant == "acme"
    assert current_tenant() == "default"


@pytest.mark.parametrize("metadata", [(), bearer("wrong-token-0123456789"), [("authorization", GOOD)]])
@pytest.mark.parametrize("shape", SHAPES)
async def test_without_a_known_token_nothing_is_served(shape: str, metadata: Any, tokens_file: Path) -> None:
    async with running_rig(tokens=TokenTable(tokens_file)) as rig:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.call(shape, metadata=metadata)
        assert rig.script.seen == []
    error = from_rpc_error(caught.value)
    assert type(error) is Unauthenticated
    assert GOOD not in str(caught.value)


async def test_health_needs_no_token(tokens_file: Path) -> None:
    async with running_rig(tokens=TokenTable(tokens_file)) as rig:
        reply = await health_pb2_grpc.HealthStub(rig.channel).Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_without_tokens_everybody_is_the_default_tenant() -> None:
    witness = Witness()
    async with running_rig(witness) as rig:
        await rig.call("unary_unary")
    assert witness.tenant == "default"


def test_a_changed_file_is_read_again_and_a_broken_one_left_out(tokens_file: Path) -> None:
    table = TokenTable(tokens_file)
    with pytest.raises(Unauthenticated):
        table.tenant_of(bearer(OTHER))
    tokens_file.write_text(json.dumps({OTHER: "umbrella"}))
    os.utime(tokens_file, ns=(1, 1))
    assert table.tenant_of(bearer(OTHER)) == "umbrella"
    with pytest.raises(Unauthenticated):
        table.tenant_of(bearer(GOOD))
    tokens_file.write_text("{")
    os.utime(tokens_file, ns=(2, 2))
    assert table.tenant_of(bearer(OTHER)) == "umbrella"
    tokens_file.unlink()
    assert table.tenant_of(bearer(OTHER)) == "umbrella"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"short": "acme"}', f'{{"{GOOD}": "Not A Tenant"}}', f'{{"{GOOD}": 1}}']
)
def test_a_file_that_cannot_be_used_is_refused_without_showing_tokens(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        TokenTable(path)
    assert GOOD not in str(caught.value)


def test_the_scheme_is_read_in_any_case_and_no_repr_shows_a_token(tokens_file: Path) -> None:
    table = TokenTable(tokens_file)
    assert table.tenant_of([("authorization", f"bearer {GOOD}")]) == "acme"
    assert GOOD not in repr(vars(table))
