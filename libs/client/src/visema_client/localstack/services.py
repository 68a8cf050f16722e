"""The services of the stack: how each is started and what its environment says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visema_client.localstack.ports import LOOPBACK
from visema_client.localstack.seaweed import Credentials

SPEECH = "speech"
STAGES = ("liveportrait", "wav2lip", "encoder", SPEECH)
ORCHESTRATOR = "orchestrator"
GATEWAY = "gateway"  # REST and the web page


# Set for every service of a private stack; what the user's shell says about them belongs to another stack.
_OWN = frozenset(
    {
        "VISEMA_LISTEN",
        "VISEMA_METRICS_LISTEN",
        "VISEMA_HEALTH_LISTEN",
        "VISEMA_PORT_FILE",
        "VISEMA_S3_ENDPOINT",
        "VISEMA_S3_PUBLIC_ENDPOINT",
        "VISEMA_S3_ACCESS_KEY",
        "VISEMA_S3_SECRET_KEY",
        "VISEMA_S3_BUCKET",
        "VISEMA_S3_REGION",
        "VISEMA_S3_CA",
        "VISEMA_TLS_CERT",
        "VISEMA_TLS_KEY",
        "VISEMA_TLS_CA",
        "VISEMA_TLS_CLIENT_CA",
        "VISEMA_ORCHESTRATOR_ADDRESS",
        "VISEMA_LIVEPORTRAIT_ADDRESS",
        "VISEMA_WAV2LIP_ADDRESS",
        "VISEMA_ENCODER_ADDRESS",
        "VISEMA_SPEECH_ADDRESS",
        "VISEMA_DATABASE_URL",
        "VISEMA_EXECUTOR_ID",
        "VISEMA_TOKENS_FILE",
    }
)

# Frames are large and short-lived. By default glibc gives such blocks back to the kernel each time, and every frame
# pays for fresh zeroed pages; one arena and high thresholds keep them. 32 MiB is the largest value every glibc accepts.
# The stages share the cores, and their matrices are small: a pool of numpy's BLAS, as large as the machine, only spins
# (a frame of stage 1 took twice the processor time on two cores). torch does not heed this variable and keeps its
# default, because a neural stage computes nearly alone. The images set the same.
PROCESS_DEFAULTS = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 1024 * 1024),
    "MALLOC_TOP_PAD_": str(16 * 1024 * 1024),
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack.

    Attributes:
        name: Name, also of its log file.
        module: Python module that is run.
        port: Port of its gRPC server; of the gateway: of its HTTP server.
        metrics_port: Port of its Prometheus endpoint.
    """

    name: str
    module: str
    port: int
    metrics_port: int

    @property
    def address(self) -> str:
        """Its address."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Its Prometheus endpoint."""
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    @property
    def command(self) -> list[str]:
        """Its command line."""
        return [sys.executable, "-P", "-m", self.module]


def port_file(state: Path, service: Service) -> Path:
    """File that the service writes once it is SERVING."""
    return state / "run" / f"{service.name}.json"


def log_file(state: Path, name: str) -> Path:
    """File with everything that a process writes."""
    return state / "logs" / f"{name}.log"


def environment(
    service: Service,
    *,
    state: Path,
    s3_endpoint: str,
    credentials: Credentials,
    addresses: Mapping[str, str],
    grace_s: float,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Environment of a service: the user's own, without what belongs to another stack, plus where everything is.

    Args:
        addresses: Service name to address; told to those who call it.
        grace_s: Time that running calls get at the stop.
        extra: Further variables; they win.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    variables = PROCESS_DEFAULTS | inherited  # the user's word counts
    variables |= {
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(state / "tmp"),
        "NO_PROXY": _without_proxy(inherited),
        "no_proxy": _without_proxy(inherited),
        "VISEMA_LISTEN": service.address,
        "VISEMA_METRICS_LISTEN": f"{LOOPBACK}:{service.metrics_port}",
        "VISEMA_PORT_FILE": str(port_file(state, service)),
        "VISEMA_GRACE_S": f"{grace_s:g}",
        "VISEMA_S3_ENDPOINT": s3_endpoint,
        "VISEMA_S3_ACCESS_KEY": credentials.access_key,
        "VISEMA_S3_SECRET_KEY": credentials.secret_key,
        "VISEMA_S3_BUCKET": "visema",
        "VISEMA_S3_REGION": "us-east-1",
    }
    if service.name == ORCHESTRATOR:
        variables |= {f"VISEMA_{stage.upper()}_ADDRESS": addresses[stage] for stage in STAGES}
        variables["VISEMA_DATABASE_URL"] = f"sqlite:///{state / 'visema.db'}"
        variables["VISEMA_EXECUTOR_ID"] = "local"
    if service.name == GATEWAY:
        variables["VISEMA_ORCHESTRATOR_ADDRESS"] = addresses[ORCHESTRATOR]
        variables["VISEMA_DATABASE_URL"] = f"sqlite:///{state / 'gateway.db'}"
    return {**variables, **extra}


def _without_proxy(inherited: Mapping[str, str]) -> str:
    """Hosts that are reached directly: what the user says and the loopback interface."""
    known = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    return ",".join(filter(None, [known, LOOPBACK, "localhost"]))
