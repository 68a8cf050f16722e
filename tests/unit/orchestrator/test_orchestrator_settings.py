"""The orchestrator's variables and their documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from visema_kit.settings import ServiceSettings, load_settings
from visema_orchestrator.settings import OrchestratorSettings

README = Path(__file__).resolve().parents[3] / "services" / "orchestrator" / "README.md"
NEEDED = {
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
    "LIVEPORTRAIT_ADDRESS": "a:1",
    "WAV2LIP_ADDRESS": "b:1",
    "ENCODER_ADDRESS": "c:1",
}


def default_of(name: str) -> str:
    field = OrchestratorSettings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "the host's name"
    return f"{field.default:.7g}" if isinstance(field.default, (int, float)) else str(field.default or "–")


def test_the_readme_lists_every_variable_with_its_default_and_meaning() -> None:
    documented = re.findall(r"^\| `(VISEMA_\w+)` \| `?(.*?)`? \| (.*) \|$", README.read_text(), re.MULTILINE)
    own = [
        name
        for name, field in OrchestratorSettings.model_fields.items()
        if name not in ServiceSettings.model_fields or field.default != ServiceSettings.model_fields[name].default
    ]
    assert sorted(documented) == sorted(
        (f"VISEMA_{name.upper()}", default_of(name), OrchestratorSettings.model_fields[name].description)
        for name in own
    )


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"VISEMA_{name}", value)
    return monkeypatch


def test_dbos_keeps_a_sqlite_file_of_its_own_and_shares_a_postgresql(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VISEMA_DATABASE_URL", "sqlite:////var/visema.db")
    settings = load_settings(OrchestratorSettings)
    assert (settings.domain_url, settings.workflow_url) == (
        "sqlite:////var/visema.db",
        "sqlite:////var/visema.db-workflows",
    )
    environment.setenv("VISEMA_DATABASE_URL", "postgresql://user:password@db/visema")
    settings = load_settings(OrchestratorSettings)
    assert settings.domain_url == settings.workflow_url == "postgresql+psycopg://user:password@db/visema"
    assert "password" not in repr(settings)


def test_a_database_of_another_kind_ends_the_start(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("VISEMA_DATABASE_URL", "mysql://db/visema")
    environment.setenv("VISEMA_JOB_SLOTS", "0")
    with pytest.raises(SystemExit) as ended:
        load_settings(OrchestratorSettings)
    assert ended.value.code == 2
    lines = capsys.readouterr().err
    assert "VISEMA_DATABASE_URL" in lines
    assert "VISEMA_JOB_SLOTS" in lines
