"""What is generated below deploy/ is up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.scripts import DEPLOY, load

FILES: dict[Path, str] = load(DEPLOY / "generate.py").files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_fresh(path: Path):
    assert path.read_text() == FILES[path], "run `make deploy-files`"


@pytest.mark.parametrize("path", sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_panels_neither_overlap_nor_share_an_id(path: Path):
    panels = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_dashboard_file_has_a_source():
    assert set((DEPLOY / "grafana" / "dashboards").glob("*.json")) <= set(FILES)
