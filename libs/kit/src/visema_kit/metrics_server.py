"""Prometheus metrics over HTTP from a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

SHUTDOWN_POLL_S: Final = 0.05  # the standard 0.5 s would be half a second at every end of a service


class _Handler(WSGIRequestHandler):
    """Writes no access log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """A slow scraper does not hold up the next one, nor the end of the process."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the DNS for the host's full name, which may take seconds where there is none."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _ServerV6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def serve_metrics(host: str, port: int, registry: CollectorRegistry) -> Iterator[int]:
    """Serve `/metrics` until the block ends; port 0 takes a free one.

    Yields: the real port.
    Raises: OSError: the address cannot be bound.
    """
    server = make_server(host, port, make_wsgi_app(registry), _ServerV6 if ":" in host else _Server, _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(SHUTDOWN_POLL_S,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
