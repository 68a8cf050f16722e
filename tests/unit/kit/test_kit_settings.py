"""Settings come from the environment, and every mistake is reported at once."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
from visema_kit.settings import ServiceSettings, load_settings, split_host_port

STORE = {"VISEMA_S3_ENDPOINT": "http://127.0.0.1:9", "VISEMA_S3_ACCESS_KEY": "id", "VISEMA_S3_SECRET_KEY": "hush"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STORE.items():
        monkeypatch.setenv(name, value)


def complaints(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        load_settings(ServiceSettings)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISEMA_LISTEN", "0.0.0.0:50051")
    monkeypatch.setenv("VISEMA_GRACE_S", "7.5")
    settings = load_settings(ServiceSettings)
    assert (settings.listen, settings.grace_s, settings.engine) == ("0.0.0.0:50051", 7.5, "auto")


def test_every_mistake_is_named_at_once_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VISEMA_S3_SECRET_KEY")
    monkeypatch.setenv("VISEMA_LISTEN", "nowhere")
    monkeypatch.setenv("VISEMA_ENGINE", "quantum-secret")
    monkeypatch.setenv("VISEMA_MAX_STREAMS", "0")
    monkeypatch.setenv("VISEMA_TLS_CLIENT_CA", "/does/not/exist.pem")
    monkeypatch.setenv("VISEMA_S3_ENDPOINT", "http://user:quantum-secret@host/path")
    lines = complaints(capsys)
    named = {line.split(":")[0] for line in lines}
    assert named == {
        "VISEMA_S3_SECRET_KEY",
        "VISEMA_LISTEN",
        "VISEMA_ENGINE",
        "VISEMA_MAX_STREAMS",
        "VISEMA_TLS_CLIENT_CA",
        "VISEMA_S3_ENDPOINT",
    }
    assert "VISEMA_S3_SECRET_KEY: is not set" in lines
    assert "quantum-secret" not in "\n".join(lines)


def test_a_certificate_needs_its_key_and_a_client_ca_needs_a_certificate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pem = tmp_path / "file.pem"
    pem.write_text("x")
    monkeypatch.setenv("VISEMA_TLS_CERT", str(pem))
    assert complaints(capsys) == ["VISEMA_TLS_KEY: is not set, but VISEMA_TLS_CERT is"]
    monkeypatch.delenv("VISEMA_TLS_CERT")
    monkeypatch.setenv("VISEMA_TLS_CLIENT_CA", str(pem))
    assert complaints(capsys) == ["VISEMA_TLS_CLIENT_CA: needs VISEMA_TLS_CERT"]


def test_secrets_do_not_show() -> None:
    settings = load_settings(ServiceSettings)
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings.model_dump())
    assert settings.s3_secret_key.get_secret_value() == "hush"


def test_settings_are_frozen() -> None:
    settings = load_settings(ServiceSettings)
    with pytest.raises(pydantic.ValidationError):
        settings.listen = "127.0.0.1:1"  # type: ignore[misc]


def test_off_switches_a_listener_off_and_empty_means_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISEMA_METRICS_LISTEN", "off")
    monkeypatch.setenv("VISEMA_GRACE_S", "")
    settings = load_settings(ServiceSettings)
    assert (settings.metrics_listen, settings.grace_s) == ("", 30.0)


@pytest.mark.parametrize(
    ("address", "pair"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("encoder:50051", ("encoder", 50051))],
)
def test_addresses_are_split(address: str, pair: tuple[str, int]) -> None:
    assert split_host_port(address) == pair


@pytest.mark.parametrize("address", ["", "host", ":80", "host:", "host:http", "host:70000", "host:-1"])
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:50051"):
        split_host_port(address)
