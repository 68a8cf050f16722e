"""The tables in docs/ say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from visema_kit.errors import error_classes
from visema_kit.metrics import Metrics
from visema_kit.settings import PREFIX, ServiceSettings

DOCS = Path(__file__).resolve().parents[3] / "docs"
CELL_BORDER = re.compile(r"(?<!\\)\|")


def table(document: str, first_heading: str) -> list[list[str]]:
    """Cells of the rows below the table head that starts with this heading, without code marks."""
    lines = (DOCS / document).read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in CELL_BORDER.split(line)[1:-1]])
    return rows


def plain(cell: str) -> str:
    return cell.strip("`")


def test_errors_md_lists_every_reason_with_its_code_and_meaning() -> None:
    documented = [(plain(row[0]), plain(row[1]), row[2] == "yes", row[3]) for row in table("errors.md", "Reason")]
    in_code = [
        (known.reason, known.code.name, known.retryable, (known.__doc__ or "").splitlines()[0])
        for known in error_classes()
    ]
    assert documented == in_code


def test_reasons_are_unique() -> None:
    reasons = [known.reason for known in error_classes()]
    assert sorted(set(reasons)) == sorted(reasons)


def test_settings_md_lists_every_variable_with_its_default() -> None:
    documented = [(plain(row[0]), plain(row[1]), row[2]) for row in table("settings.md", "Variable")]
    in_code = []
    for name, field in ServiceSettings.model_fields.items():
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default or "–")
        in_code.append((PREFIX + name.upper(), "required" if field.is_required() else default, field.description))
    assert documented == in_code


def test_metrics_md_lists_every_metric_with_its_labels() -> None:
    documented = [(plain(row[0]), row[1], row[2], row[3]) for row in table("metrics.md", "Metric")]
    in_code = []
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            kind = type(metric).__name__.lower()
            name = metric._name + ("_total" if kind == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "–"
            in_code.append((name, kind, labels, metric._documentation))
    assert documented == in_code
