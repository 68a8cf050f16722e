"""What a server process does whatever it serves: its metrics, and the addresses that it tells."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from visema_kit.metrics import Metrics
from visema_kit.metrics_server import serve_metrics
from visema_kit.settings import split_host_port


def reachable(host: str, port: int) -> str:
    """`host:port` for callers on this machine: an address that means "all interfaces" is none that can be called."""
    callable_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"[{callable_host}]:{port}" if ":" in callable_host else f"{callable_host}:{port}"


def settle() -> None:
    """Call it when everything is loaded: it lives as long as the process, and collections leave it alone from now on.

    Otherwise a full one goes through the 100,000 objects and more of the libraries while nobody is served: for 0.1 s on
    a machine whose cores compute. What is garbage by now stays, too: a few hundred objects.
    """
    gc.freeze()


@contextmanager
def metrics_endpoint(service: str, metrics: Metrics, listen: str) -> Iterator[str]:
    """Serve a process's metrics while the block runs. Yields: the address, or nothing where `listen` is empty.

    Raises: OSError: the address cannot be bound.
    """
    metrics.describe_process(service)
    if not listen:
        yield ""
        return
    host, port = split_host_port(listen)
    with serve_metrics(host, port, metrics.registry) as real_port:
        yield reachable(host, real_port)


@contextmanager
def port_file(path: Path | None, addresses: Mapping[str, str]) -> Iterator[None]:
    """A file with the real addresses and the process's id while the block runs; whoever waits for it never sees half of
    it.
    """
    if path is None:
        yield
        return
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps({**addresses, "pid": os.getpid()}) + "\n", encoding="utf-8")
    part.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
