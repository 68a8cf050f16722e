"""`visema doctor`: can a job run here, and on which engines?"""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visema_client.cli import options
from visema_client.cli.exits import Exit
from visema_client.cli.guard import guarded

if TYPE_CHECKING:
    from visema_client.diagnosis.check import Check

_MARKS = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


@guarded
def doctor(
    *,
    engine: Annotated[
        options.Engine, typer.Option("--engine", help="`neural`: fail unless the neural engines run.")
    ] = "auto",
    stack: Annotated[
        bool, typer.Option("--stack/--no-stack", help="Also start a stack and ask each stage for its engine.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Look at this machine and say what is missing and how to mend it.

    The exit status is 0 when a job can run here (with --engine neural: on neural engines), else 1.
    """
    from visema_client.cli.output import notes, print_json
    from visema_client.diagnosis import machine, software
    from visema_client.diagnosis.check import Verdict

    checks = [
        machine.python(),
        software.packages(),
        software.codecs(),
        software.face_models(),
        software.object_store(),
        machine.processor(),
        machine.memory(),
        machine.disk(),
        machine.ports(),
        machine.open_files(),
        machine.gpu(),
        software.torch(),
        software.checkpoints(),
        software.licences(),
    ]
    can_run = all(check.verdict is not Verdict.BAD for check in checks)
    engines: dict[str, str] = {}
    if stack and can_run:
        from visema_client.diagnosis.engines import try_stack

        with notes().status("starting a stack to see which engines run"):
            trial = try_stack()
        checks += trial.checks
        engines = dict(trial.engines)
        can_run = bool(engines) and not (engine == "neural" and trial.degraded)
    elif engine == "neural":
        can_run = False  # only a start can prove it
    if as_json:
        print_json(
            {
                "can_run": can_run,
                "engines": engines,
                "checks": [
                    {"name": check.name, "verdict": check.verdict, "found": check.found, "mend": check.mend}
                    for check in checks
                ],
            }
        )
    else:
        _print(checks, engines, can_run=can_run)
    if not can_run:
        raise typer.Exit(Exit.FAILED)


def _print(checks: list[Check], engines: dict[str, str], *, can_run: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from visema_client.cli.output import results

    table = Table("check", "", "found", "how to mend")
    for check in checks:
        table.add_row(check.name, _MARKS[check.verdict], escape(check.found), escape(check.mend))
    console = results()
    console.print(table)
    if not can_run:
        console.print("[bold red]No such job can run here.[/] Mend what is marked first.")
    elif engines:
        listed = ", ".join(f"{stage}: {name}" for stage, name in engines.items())
        console.print(f"[bold green]A job can run here[/], on these engines: {listed}", soft_wrap=True)
    else:
        console.print("[bold green]Nothing stands in the way of a job[/]; without --no-stack a start proves it.")
