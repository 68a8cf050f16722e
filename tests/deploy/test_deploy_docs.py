"""What the operators' documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "docs" / f"{name}.md" for name in ("operations", "runbook", "compatibility", "adding-an-engine")]
EACH = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)


def settings_fields() -> set[str]:
    texts = [path.read_text() for path in ROOT.glob("*/*/src/*/settings.py")]
    return {name for text in texts for name in re.findall(r"^    (\w+): ", text, re.MULTILINE)}


@EACH
def test_links_lead_to_files(path: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@EACH
def test_make_targets_exist(path: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", path.read_text())) <= targets


@EACH
def test_variables_are_settings_or_those_of_compose(path: Path):
    known = settings_fields()
    compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    for name in re.findall(r"`(VISEMA_[A-Z0-9_]+)", path.read_text()):
        assert name.removeprefix("VISEMA_").lower() in known or name in compose, name


@EACH
def test_paths_of_the_repository_exist(path: Path):
    for name in re.findall(r"`((?:deploy|services|libs|tests|overlays)/[\w./-]+)`", path.read_text()):
        if "NAME" not in name and "..." not in name:
            assert (ROOT / name).exists() or (ROOT / "deploy" / "k8s" / name).exists(), name


def test_every_component_is_explained():
    text = DOCS[0].read_text()
    for component in (ROOT / "deploy" / "k8s" / "components").iterdir():
        assert f"`{component.name}`" in text, component.name
