"""How often a caller may ask, and who counts as one caller."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator
from support.gateway import serving
from visema_gateway.api.rates import RateLimit

Orchestrator = tuple[str, FakeOrchestrator]

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
ANNA, ALSO_ANNA, BERT = ({"Authorization": f"Bearer token-of-{name:0<16}"} for name in ("anna", "also-anna", "bert"))
STRANGERS = [{"Authorization": f"Bearer unknown-{number:016}"} for number in range(4)]
TWO_THEN_NONE = {"read_rate_per_s": 0.01, "write_rate_per_s": 0.01, "rate_burst_s": 200.0}


async def statuses(web: httpx.AsyncClient, *headers: dict[str, str]) -> list[int]:
    return [(await web.get("/v1/jobs", headers=header)).status_code for header in headers]


def test_buckets_fill_at_the_rate_up_to_the_burst() -> None:
    limit = RateLimit(rate_per_s=10, burst_s=2)
    assert [limit.wait_s("x", now_s=0.0) for _ in range(20)] == [0.0] * 20
    assert limit.wait_s("x", now_s=0.0) == pytest.approx(0.1)
    assert limit.wait_s("y", now_s=0.0) == 0.0
    assert limit.wait_s("x", now_s=0.1) == 0.0
    assert [limit.wait_s("x", now_s=1000.0) for _ in range(21)].index(pytest.approx(0.1)) == 20


def test_a_request_that_one_bucket_refuses_costs_the_others_nothing() -> None:
    limit = RateLimit(rate_per_s=1, burst_s=2)
    assert [limit.wait_s("all", now_s=0.0) for _ in range(2)] == [0.0] * 2
    assert [limit.wait_s("mine", "all", now_s=0.0) for _ in range(5)] == [1.0] * 5
    assert [limit.wait_s("mine", now_s=0.0) for _ in range(3)] == [0.0, 0.0, 1.0]


async def test_the_burst_means_the_same_for_reads_and_writes(orchestrator: Orchestrator, tmp_path: Path) -> None:
    async with (
        serving(orchestrator[0], tmp_path, **TWO_THEN_NONE) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        assert [(await web.get("/v1/jobs")).status_code for _ in range(4)] == [200, 200, 429, 429]
        assert [(await web.delete("/v1/jobs/x")).status_code for _ in range(4)] == [404, 404, 429, 429]


async def test_tenants_behind_one_address_have_rates_of_their_own(orchestrator: Orchestrator, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    names = {ANNA["Authorization"][7:]: "anna", ALSO_ANNA["Authorization"][7:]: "anna", BERT["Authorization"][7:]: "b"}
    tokens.write_text(json.dumps(names))
    async with (
        serving(orchestrator[0], tmp_path, tokens_file=tokens, **TWO_THEN_NONE) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        assert await statuses(web, *STRANGERS) == [401, 401, 429, 429]  # whoever made them up, by address
        assert await statuses(web, ANNA, ALSO_ANNA, ANNA, ALSO_ANNA) == [200, 200, 429, 429]
        assert await statuses(web, BERT, BERT, BERT) == [200, 200, 429]


async def test_where_tokens_are_not_known_made_up_ones_share_the_addresss_rate(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, **TWO_THEN_NONE) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        assert await statuses(web, *STRANGERS) == [200, 200, 429, 429]


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [("127.0.0.0/8", [200, 200, 200, 200, 200, 429]), ("192.0.2.1", [200, 200, 429, 429, 429, 429])],
)
async def test_clients_have_rates_of_their_own_behind_a_proxy_that_is_trusted(
    orchestrator: Orchestrator, tmp_path: Path, proxies: str, expected: list[int]
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, trusted_proxies=proxies, **TWO_THEN_NONE) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        clients = [f"203.0.113.{number}" for number in (1, 2, 3, 1, 2, 1)]
        assert await statuses(web, *({"X-Forwarded-For": client} for client in clients)) == expected


@pytest.mark.parametrize(("proxies", "scheme"), [("127.0.0.1,10.0.0.0/8", "https"), ("10.0.0.0/8", "http")])
async def test_absolute_urls_have_the_scheme_that_a_trusted_proxy_names(
    orchestrator: Orchestrator, tmp_path: Path, proxies: str, scheme: str
) -> None:
    async with (
        serving(orchestrator[0], tmp_path, trusted_proxies=proxies) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as web,
    ):
        files = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}
        reply = await web.post("/generate", files=files)
        job = await web.get(f"/v1/jobs/{reply.json()['session_id']}/events")
        assert job.status_code == 200
        headers = {"X-Forwarded-Proto": "https", "Host": "visema.example.com"}
        view = (await web.get(f"/v1/jobs/{reply.json()['session_id']}", headers=headers)).json()
        assert view["video"]["url"].startswith(f"{scheme}://visema.example.com/")
