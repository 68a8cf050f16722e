"""Rules and alerts: valid, tested one by one, explained in the runbook, made of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "visema.rules.yml"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def alerts() -> dict[str, dict]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def alert_tests() -> list[dict]:
    return [
        check
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test.get("alert_rule_test", [])
    ]


def promtool(*arguments: str | Path, cwd: Path = PROMETHEUS) -> None:
    result = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_the_rules_are_valid():
    promtool("check", "rules", RULES)


@needs_promtool
def test_the_scrape_configuration_is_valid():
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path):
    promtool("test", "rules", path.name, cwd=path.parent)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rule_tests_say_in_which_order_groups_are_evaluated(path: Path):
    groups = [group["name"] for group in yaml.safe_load(RULES.read_text())["groups"]]
    assert yaml.safe_load(path.read_text())["group_eval_order"] == groups  # promtool's own order is a chance


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_shown_to_fire_and_not_to_fire(name: str):
    expectations = [bool(check["exp_alerts"]) for check in alert_tests() if check["alertname"] == name]
    assert set(expectations) == {True, False}


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_section_in_the_runbook(name: str):
    path, anchor = alerts()[name]["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_severity_and_a_summary(name: str):
    assert alerts()[name]["labels"]["severity"] in {"page", "ticket"}
    assert alerts()[name]["annotations"]["summary"].endswith(".")


def test_the_target_is_a_bucket_of_its_own():
    from visema_kit.metrics import RATIO_BUCKETS

    assert 1.0 in RATIO_BUCKETS
    assert 'le="1.0"' in RULES.read_text()
