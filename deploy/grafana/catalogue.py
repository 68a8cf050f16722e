"""VISEMA's dashboards. `make deploy-files` writes them to dashboards/*.json; a test runs every query."""

from __future__ import annotations

from typing import Final

from grafana.capacity import CAPACITY
from grafana.overview import OVERVIEW
from grafana.stages import STAGE_DETAIL

DASHBOARDS: Final = (OVERVIEW, STAGE_DETAIL, CAPACITY)
