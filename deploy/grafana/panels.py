"""The few kinds of Grafana panels that the dashboards use, as typed values that turn into Grafana's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Json = dict[str, Any]
Unit = Literal["s", "short", "percentunit", "bytes", "reqps", "ops", "fps", "none"]

GRID_WIDTH: Final = 24
SCHEMA_VERSION: Final = 39  # Grafana 10.4 and later read it
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
TARGET_COLOUR: Final = "#e02f44"


@dataclass(frozen=True)
class Query:
    """One PromQL expression.

    Attributes:
        expr: PromQL; `$__rate_interval` and dashboard variables are allowed.
        legend: Template of the series' names, e.g. `{{stage}}`.
        is_target: A limit: drawn as a dashed red line.
    """

    expr: str
    legend: str = ""
    is_target: bool = False

    def to_json(self, letter: str, *, heatmap: bool, instant: bool) -> Json:
        """Grafana's form. Args: letter: name of the query in its panel. instant: only the newest value."""
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "format": "heatmap" if heatmap else ("table" if instant and not self.legend else "time_series"),
            "instant": instant,
            "range": not instant,
            "exemplar": not instant and not heatmap and "_bucket" in self.expr,  # dots that lead to traces
        }


@dataclass(frozen=True)
class Panel:
    """A panel of any kind.

    Attributes:
        title: Heading.
        queries: What it shows.
        help: What the reader should take from it, shown behind the "i".
        kind: Grafana's panel type.
        unit: Grafana's unit of the values.
        width: Of 24 columns.
        height: In grid rows.
        stacked: Areas on top of each other, for things that add up.
        limits: Value to colour, upwards; for stat panels.
        maximum: End of the axis; None: as the data wants.
    """

    title: str
    queries: Sequence[Query]
    help: str
    kind: Literal["timeseries", "stat", "heatmap", "table"] = "timeseries"
    unit: Unit = "short"
    width: int = 8
    height: int = 8
    stacked: bool = False
    limits: Sequence[tuple[float | None, str]] = ((None, "green"),)
    maximum: float | None = None

    def to_json(self, number: int, x: int, y: int) -> Json:
        """Grafana's form. Args: number: unique in the dashboard. x, y: place in the grid."""
        instant = self.kind in {"stat", "table"}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.help,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [
                query.to_json(chr(ord("A") + index), heatmap=self.kind == "heatmap", instant=instant)
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
        }

    def _defaults(self) -> Json:
        defaults: Json = {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.limits],
            },
        }
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.kind == "timeseries":
            defaults["min"] = 0
            defaults["custom"] = {
                "fillOpacity": 40 if self.stacked else 8,
                "lineWidth": 1,
                "showPoints": "auto",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            }
        return defaults

    def _overrides(self) -> list[Json]:
        line = {"fill": "dash", "dash": [10, 6]}
        return [
            {
                "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + index)},
                "properties": [
                    {"id": "color", "value": {"mode": "fixed", "fixedColor": TARGET_COLOUR}},
                    {"id": "custom.lineStyle", "value": line},
                    {"id": "custom.fillOpacity", "value": 0},
                    {"id": "custom.stacking", "value": {"mode": "none", "group": "target"}},
                ],
            }
            for index, query in enumerate(self.queries)
            if query.is_target
        ]

    def _options(self) -> Json:
        if self.kind == "stat":
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value",
                "graphMode": "none",
                "textMode": "auto",
            }
        if self.kind == "heatmap":
            return {
                "calculate": False,
                "yAxis": {"unit": self.unit},
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "cellGap": 1,
                "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": True},
            }
        if self.kind == "table":
            return {"showHeader": True}
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True)
class Row:
    """Panels below one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard, filled from a label's values; several or all may be chosen."""

    name: str
    label_values: str

    def to_json(self) -> Json:
        """Grafana's form."""
        return {
            "name": self.name,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": self.label_values, "refId": "variable"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; its file is named after `uid`."""

    uid: str
    title: str
    help: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)

    def panels(self) -> list[Panel]:
        """All panels in order."""
        return [panel for row in self.rows for panel in row.panels]

    def to_json(self) -> Json:
        """Grafana's dashboard model."""
        source = {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {"text": "default", "value": "default"},
        }
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.help,
            "tags": ["visema"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [{"type": "dashboards", "tags": ["visema"], "title": "VISEMA", "asDropdown": True}],
            "templating": {"list": [source, *(variable.to_json() for variable in self.variables)]},
            "panels": self._laid_out(),
        }

    def _laid_out(self) -> list[Json]:
        """Headings and panels from left to right, top to bottom."""
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            number = len(placed) + 1
            placed.append(
                {
                    "id": number,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "panels": [],
                    "gridPos": {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1},
                }
            )
            y += 1
            x, height = 0, 0
            for panel in row.panels:
                if x + panel.width > GRID_WIDTH:
                    x, y, height = 0, y + height, 0
                placed.append(panel.to_json(len(placed) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return placed
