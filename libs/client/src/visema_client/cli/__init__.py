"""The `visema` command line."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name."""
    from visema_client.cli.app import app  # noqa: PLC0415  # a program that imports the SDK does not need typer

    app()
