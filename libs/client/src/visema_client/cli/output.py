"""Where the command line writes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from visema_client.cli.exits import Complaint


@cache
def notes() -> Console:
    """Progress, notes and errors: stderr."""
    from rich.console import Console  # noqa: PLC0415  # takes a tenth of a second

    return Console(stderr=True, highlight=False)


@cache
def results() -> Console:
    """What was asked for: stdout."""
    from rich.console import Console  # noqa: PLC0415  # takes a tenth of a second

    return Console(highlight=False)


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def complain(complaint: Complaint, *, as_json: bool) -> None:
    """Say what went wrong: on stderr for a person, and on stdout for a program that asked for JSON."""
    if as_json:
        error = {
            "reason": complaint.reason,
            "message": complaint.message,
            "hint": complaint.hint,
            "metadata": complaint.metadata,
        }
        print_json({"error": error})
        return
    from rich.markup import escape  # noqa: PLC0415  # takes a tenth of a second

    console = notes()
    if complaint.details:
        console.print(complaint.details, style="dim", markup=False)
    console.print(f"[bold red]error:[/] {escape(complaint.message)}", soft_wrap=True)
    if complaint.hint:
        console.print(f"[bold]hint:[/] {escape(complaint.hint)}", soft_wrap=True)
