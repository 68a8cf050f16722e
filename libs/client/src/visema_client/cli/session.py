"""A connected client: to the server that was named, or to a private stack that ends with the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from visema_client.cli.output import notes
from visema_client.cli.server import ServerChoice
from visema_client.localstack import LocalStack, StackOptions
from visema_client.sync import Visema

_NO_PROXY = "no_grpc_proxy"


@contextmanager
def connected(choice: ServerChoice) -> Iterator[Visema]:
    """A client of the named server. Raises: typer.BadParameter: none was named."""
    address = choice.required().address or ""
    with Visema(address, tls=choice.tls, token=choice.token) as client:
        yield client


@contextmanager
def connected_or_private(choice: ServerChoice, options: StackOptions | None = None) -> Iterator[Visema]:
    """A client of the named server, else of a private stack that is stopped at the end.

    Args:
        choice: Where the server is.
        options: Of the private stack.

    Raises: LocalStackError: the private stack does not start.
    """
    if choice.address:
        with connected(choice) as client:
            yield client
        return
    with private_stack(options or StackOptions()) as stack, Visema(stack.address) as client:
        yield client


@contextmanager
def private_stack(options: StackOptions) -> Iterator[LocalStack]:
    """A stack that ends with the block. Raises: LocalStackError: it does not start."""
    reach_loopback_directly()
    stack = LocalStack(options)
    with notes().status("starting a private stack"):
        stack.start()
    try:
        yield stack
    finally:
        with notes().status("stopping the private stack"):
            stack.stop()


def reach_loopback_directly() -> None:
    """Keep this process's gRPC from sending calls to this machine through the user's HTTP proxy."""
    known = os.environ.get(_NO_PROXY) or os.environ.get("no_proxy") or ""
    os.environ[_NO_PROXY] = ",".join(filter(None, [known, "127.0.0.1", "localhost"]))
