"""The commands of `visema`, registered in one place."""

from __future__ import annotations

import typer

from visema_client import models_cli
from visema_client.cli import avatars, jobs
from visema_client.cli.bench import bench
from visema_client.cli.demo import demo
from visema_client.cli.doctor import doctor
from visema_client.cli.generate import generate
from visema_client.cli.up import up
from visema_client.cli.voices import voices

EPILOG = "Exit status: 0 done · 1 failed · 2 input refused · 3 no server · 4 not found · 5 not allowed · 6 no capacity"

app = typer.Typer(
    name="visema",
    help="Make a portrait talk.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EPILOG,
)
for command in (generate, demo, voices, up, doctor, bench):
    app.command()(command)
for name, group in (("jobs", jobs.app), ("avatars", avatars.app), ("models", models_cli.app)):
    app.add_typer(group, name=name)
