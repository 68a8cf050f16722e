"""`python -m visema_kit.healthcheck`: asks the service of this machine for its health; the containers' health check.

Reads VISEMA_HEALTH_LISTEN, else VISEMA_LISTEN. Exit status: 0 SERVING, 1 anything else, with the reason on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from visema_kit.settings import PREFIX, split_host_port

TIMEOUT_S: Final = 3.0
# An address that means "all interfaces" is none that can be called.
_CALLABLE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


def address_to_ask(environment: Mapping[str, str]) -> str:
    """Where the service of this machine answers health checks without TLS, as `host:port`.

    Raises: ValueError: the environment does not say so.
    """
    listen = environment.get(f"{PREFIX}HEALTH_LISTEN", "")
    if not listen:
        if environment.get(f"{PREFIX}TLS_CERT"):
            raise ValueError(f"under TLS set {PREFIX}HEALTH_LISTEN")
        listen = environment.get(f"{PREFIX}LISTEN", "")
    if not listen:
        raise ValueError(f"{PREFIX}LISTEN is not set")
    host, port = split_host_port(listen)
    if port == 0:
        raise ValueError(f"{listen} has no fixed port")
    host = _CALLABLE.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def health_of(address: str, timeout_s: float = TIMEOUT_S) -> str:
    """The service's health, e.g. `SERVING`, or why there is no answer, e.g. `DEADLINE_EXCEEDED`."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_s, wait_for_ready=False
            )
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> int:
    """Ask. Returns: the exit status."""
    try:
        health = health_of(address_to_ask(os.environ))
    except ValueError as error:
        health = str(error)
    if health != "SERVING":
        sys.stderr.write(f"{health}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
