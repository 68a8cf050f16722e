"""Where the orchestrator is, as options of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from visema_kit.channel import TlsFiles

PANEL = "Server"


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Where the orchestrator is.

    Attributes:
        address: `host:port`; None for a private stack.
        token: Bearer token.
        tls_ca: CA of the server; switches TLS on.
        tls_cert: Certificate of the client; switches TLS on.
        tls_key: Its private key.
    """

    address: str | None
    token: str | None = field(default=None, repr=False)
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def tls(self) -> TlsFiles | None:
        """Certificates; None for plain text."""
        if self.tls_ca is None and self.tls_cert is None:
            return None
        from visema_kit.channel import TlsFiles  # noqa: PLC0415  # brings gRPC, which `visema --help` must not wait for

        return TlsFiles(self.tls_ca, self.tls_cert, self.tls_key)

    def required(self) -> ServerChoice:
        """Raises: typer.BadParameter: no server was named."""
        if not self.address:
            raise typer.BadParameter(
                "which server? Give HOST:PORT or set VISEMA_SERVER (`visema up` starts one)", param_hint="--server"
            )
        return self


# In the order of ServerChoice's attributes.
OPTIONS: dict[str, object] = {
    "server": Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar="VISEMA_SERVER",
            metavar="HOST:PORT",
            help="The orchestrator to use.",
            rich_help_panel=PANEL,
        ),
    ],
    "token": Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="VISEMA_TOKEN",
            help="Token for a server that asks for one.",
            rich_help_panel=PANEL,
            show_envvar=True,
        ),
    ],
    "tls_ca": Annotated[
        Path | None,
        typer.Option("--tls-ca", help="PEM file with the server's CA; switches TLS on.", rich_help_panel=PANEL),
    ],
    "tls_cert": Annotated[
        Path | None,
        typer.Option("--tls-cert", help="PEM file with the client's certificate (mTLS).", rich_help_panel=PANEL),
    ],
    "tls_key": Annotated[
        Path | None,
        typer.Option("--tls-key", help="PEM file with the client's private key (mTLS).", rich_help_panel=PANEL),
    ],
}


def with_server(command: Callable[..., None]) -> Callable[..., None]:
    """Make options of a command's parameter `server: ServerChoice`: Typer sees them in its place."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "server":
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                for name, annotation in OPTIONS.items()
            ]
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:  # the command's own, whatever they are
        choice = ServerChoice(*(kwargs.pop(name) for name in OPTIONS))
        command(*args, server=choice, **kwargs)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
