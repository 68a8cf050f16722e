"""docker-compose.yml: complete, unprivileged, without secrets, on the loopback interface."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
OURS = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
EACH_OF_OURS = pytest.mark.parametrize("name", OURS)


def test_every_service_is_there():
    assert set(OURS) <= set(SERVICES)
    assert {"object-store", "database", "prometheus", "grafana"} <= set(SERVICES)


@pytest.mark.parametrize("name", [*OURS, "checkpoints"])
def test_our_containers_are_unprivileged(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(place.endswith("/scratch") for place in (*service["volumes"], *service.get("tmpfs", ())))
    assert service.get("user", "10001") == "10001" or name == "checkpoints"  # its volume belongs to root at first


@EACH_OF_OURS
def test_containers_get_more_time_to_stop_than_their_calls(name: str):
    grace_s = float(SERVICES[name]["environment"].get("VISEMA_GRACE_S", 5))
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > grace_s


def test_the_start_is_ordered_by_health():
    assert set(SERVICES["orchestrator"]["depends_on"]) >= {"database", "liveportrait", "wav2lip", "encoder", "speech"}
    for name in ("orchestrator", "gateway"):
        assert {condition["condition"] for condition in SERVICES[name]["depends_on"].values()} == {"service_healthy"}


def test_ports_are_published_on_the_loopback_interface_only():
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_images_are_pinned_and_may_be_replaced():
    for name, service in SERVICES.items():
        image = service["image"]
        if name not in OURS and name != "checkpoints":
            assert re.fullmatch(r"\$\{\w+:-[\w./-]+:[\w.-]*\d[\w.-]*\}", image), image


def test_secrets_have_no_default_value():
    for name, default in re.findall(r"\$\{(\w*(?:SECRET|PASSWORD|ACCESS_KEY)\w*)(.*?)\}", TEXT):
        assert default.startswith(":?"), name


def test_prometheus_looks_for_every_service():
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert sorted(scrape["dns_sd_configs"][0]["names"]) == OURS


@pytest.fixture
def compose_up(tmp_path: Path) -> Callable[..., str]:
    """Runs deploy/compose-up.sh in a copy, with a docker that notes its calls; gives what it printed."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("locks", "k8s", "wheels"))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text('#!/bin/sh\necho "$@ $VISEMA_S3_PUBLIC_ENDPOINT" >> "$CALLS"\n')
    (tools / "docker").chmod(0o755)

    def run(**variables: str) -> str:
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), **variables}
        script = tmp_path / "deploy" / "compose-up.sh"
        return subprocess.run([script], env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_values_in_grafana_lead_to_traces():
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    provisioning = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(provisioning.read_text())["datasources"]
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    variable = re.fullmatch(r"\$(\w+)\$\$\{__value\.raw\}", link["url"])  # $$: for Grafana's links, not its settings
    assert variable is not None
    assert variable[1] in SERVICES["grafana"]["environment"]


def test_the_first_start_makes_secrets_that_only_the_owner_reads(tmp_path: Path, compose_up: Callable[..., str]):
    texts = []
    for _ in range(2):
        assert "http://127.0.0.1:8080" in compose_up()
        texts.append((tmp_path / ".env").read_text())
    assert texts[0] == texts[1]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    wanted = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert wanted == set(re.findall(r"^(\w+)=\S{16,}$", texts[0], re.MULTILINE))
    assert "compose up -d --build" in (tmp_path / "calls").read_text()
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_presigned_addresses_follow_the_stores_port(tmp_path: Path, compose_up: Callable[..., str]):
    compose_up(OBJECT_STORE_PORT="9123")
    compose_up(OBJECT_STORE_PORT="9123", VISEMA_S3_PUBLIC_ENDPOINT="https://store.example")
    calls = [line for line in (tmp_path / "calls").read_text().splitlines() if "up -d" in line]
    assert [call.rpartition(" ")[2] for call in calls] == ["http://127.0.0.1:9123", "https://store.example"]
