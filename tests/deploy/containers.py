"""`make test-containers`: builds the images, starts docker-compose.yml on a real engine, and runs a job through it.

Third-party images that cannot be pulled are replaced by stand-ins from Debian's and Python's packages (stand_ins/);
Grafana, which has none, is left out then. PYTHON_IMAGE chooses the base; DOCKER_HOST the engine.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import visema_client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from visema.orchestrator.v1 import jobs_pb2
from visema_client import Visema

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).resolve().parent / "stand_ins"
SAMPLES = Path(visema_client.__file__).parent / "samples"
PROJECT = "visema-test"
THIRD_PARTY = {
    "OBJECT_STORE_IMAGE": ("quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z", "object-store"),
    "POSTGRES_IMAGE": ("postgres:16.4-bookworm", "database"),
    "PROMETHEUS_IMAGE": ("prom/prometheus:v2.54.1", "prometheus"),
    "GRAFANA_IMAGE": ("grafana/grafana:11.2.2", ""),
}
WEED = "server -dir=/data -s3 -s3.port=9000 -master.telemetry=false -ip.bind=0.0.0.0 -volume.max=0"
OURS = tuple(sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile")))
PORTS = {
    "OBJECT_STORE_PORT": 29000,
    "VISEMA_PORT": 29051,
    "GATEWAY_PORT": 29080,
    "PROMETHEUS_PORT": 29090,
    "GRAFANA_PORT": 29030,
}
PULL_TIMEOUT_S = 300
HEALTHY_TIMEOUT_S = 240
STOP_LIMIT_S = 2.0


def say(text: str) -> None:
    """A line for the person who waits."""
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()


def run(*command: str | Path, quiet: bool = False, env: dict[str, str] | None = None) -> str:
    """Run a command from the repository's root. Returns: its output. Raises: SystemExit: it fails."""
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if result.returncode and not quiet:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout[-4000:]}{result.stderr[-4000:]}")
    return result.stdout


def available(image: str) -> bool:
    """Whether an image is here or can be pulled."""
    if run("docker", "images", "-q", image):
        return True
    pull = ["docker", "pull", "-q", image]
    try:
        return subprocess.run(pull, timeout=PULL_TIMEOUT_S, capture_output=True, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def choose_images() -> tuple[dict[str, str], list[str]]:
    """Variables for docker-compose.yml, and the services that are left out."""
    variables, left_out = {}, []
    for name, (image, stand_in) in THIRD_PARTY.items():
        chosen = os.environ.get(name, image)
        if available(chosen):
            variables[name] = chosen
        elif stand_in:
            tag = f"visema-test/{stand_in}:local"
            say(f"{chosen} cannot be pulled: building a stand-in")
            base = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")
            run(*("docker", "build", "-q", "--build-arg", f"PYTHON_IMAGE={base}"),
                *("-f", STAND_INS / f"{stand_in}.Dockerfile", "-t", tag, STAND_INS))  # fmt: skip
            variables[name] = tag
            if stand_in == "object-store":
                variables["OBJECT_STORE_COMMAND"] = WEED
        else:
            say(f"{chosen} cannot be pulled: left out")
            left_out.append(name.split("_", maxsplit=1)[0].lower())
    return variables, left_out


class Stack:
    """The compose project of this test."""

    def __init__(self, variables: dict[str, str]) -> None:
        made = {
            name: secrets.token_hex(16)
            for name in ("VISEMA_S3_ACCESS_KEY", "VISEMA_S3_SECRET_KEY", "POSTGRES_PASSWORD")
        }
        self.environment = {
            **os.environ,
            **variables,
            **made,
            **{name: str(port) for name, port in PORTS.items()},
            "GRAFANA_PASSWORD": secrets.token_hex(16),
            "VISEMA_ENGINE": "embedded",
        }
        legacy = shutil.which("docker-compose")
        self.command = [legacy] if legacy else ["docker", "compose"]

    def compose(self, *arguments: str, quiet: bool = False) -> str:
        """docker-compose with this project's settings."""
        return run(
            *self.command, "-p", PROJECT, "-f", "docker-compose.yml", *arguments, quiet=quiet, env=self.environment
        )

    def container(self, service: str) -> str:
        """Id of a service's container."""
        return self.compose("ps", "-q", service).strip()

    def state(self, service: str) -> dict[str, object]:
        """Docker's account of a service."""
        state: dict[str, object] = json.loads(
            run("docker", "inspect", "-f", "{{json .State}}", self.container(service))
        )
        return state

    def address(self, service: str) -> str:
        """Where a service's gRPC server is on the bridge."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "-f", form, self.container(service)).strip() + ":50051"

    def wait_healthy(self) -> None:
        """Until every container of ours is healthy."""
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        for service in OURS:
            while True:
                health = self.state(service).get("Health", {})
                status = health.get("Status") if isinstance(health, dict) else None
                if status == "healthy":
                    break
                if time.monotonic() > deadline:
                    sys.exit(f"{service} is {status}\n" + self.compose("logs", "--tail=40", service))
                time.sleep(0.5)


@contextmanager
def running(stack: Stack, services: list[str]) -> Iterator[None]:
    """The stack, up and healthy; gone afterwards with its volumes."""
    try:
        stack.compose("up", "-d", "--no-build", *services)
        stack.wait_healthy()
        yield
    finally:
        if "KEEP" not in os.environ:
            stack.compose("down", "-v", "-t", "5", "--remove-orphans", quiet=True)


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def check_a_job(client: Visema, folder: Path) -> None:
    """A video comes out."""
    path = folder / "out.mp4"
    took_s = timed(lambda: client.generate(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav").save(path))
    assert path.read_bytes()[4:8] == b"ftyp", "no MP4"
    say(f"a job ran through the stack in {took_s:.1f} s: {path.stat().st_size} bytes")


def check_privileges(stack: Stack) -> None:
    """Non-root, nothing writable but /scratch, no compiler, no pip."""
    for service in OURS:
        container = stack.container(service)
        assert run("docker", "exec", container, "id", "-u").strip() == "10001", service
        assert not run("docker", "exec", container, "sh", "-c", "touch /opt/visema/x && echo writable", quiet=True), (
            service
        )
        assert not run("docker", "exec", container, "sh", "-c", "command -v gcc cc g++", quiet=True), service
    say("every service runs as 10001 on a read-only root, without a compiler")


def check_torch_is_absent(stack: Stack) -> None:
    """Services without networks carry none."""
    for service in ("encoder", "orchestrator", "speech", "gateway"):
        find = "import importlib.util; print(importlib.util.find_spec('torch'))"
        if service in OURS:
            assert run("docker", "exec", stack.container(service), "python", "-c", find).strip() == "None", service


def check_prometheus() -> None:
    """Every replica is found by name and answers."""
    url = f"http://127.0.0.1:{PORTS['PROMETHEUS_PORT']}/api/v1/query?"
    query = urllib.parse.urlencode({"query": 'count(up{job="visema"} == 1)'})
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(url + query) as answer:
            result = json.load(answer)["data"]["result"]
        if result and int(result[0]["value"][1]) == len(OURS):
            break
        assert time.monotonic() < deadline, f"Prometheus sees {result}"
        time.sleep(1)
    say(f"Prometheus scrapes all {len(OURS)} services")


def check_busy_stop(stack: Stack, client: Visema) -> None:
    """SIGTERM while a job runs: watchers hear NOT_SERVING at once, the call goes on, the job succeeds."""
    container = stack.container("encoder")
    with grpc.insecure_channel(stack.address("encoder")) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        job = client.create_job(client.job_spec(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav"))
        next(event for event in client.watch_job(job.job_id) if event.job.state == jobs_pb2.JOB_STATE_RUNNING)
        killed = time.monotonic()
        run("docker", "kill", "-s", "TERM", container)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        leaving_s = time.monotonic() - killed
        assert leaving_s <= STOP_LIMIT_S, f"the encoder still said SERVING after {leaving_s:.1f} s"
    say(f"encoder: NOT_SERVING {leaving_s:.2f} s after SIGTERM with a job running")
    assert run("docker", "wait", container).strip() == "0"
    stack.compose("up", "-d", "--no-build", "encoder")  # its successor, for a call that had not reached it yet
    assert client.wait_job(job.job_id).read()[4:8] == b"ftyp"
    say("the encoder ended with 0, and the job that was running succeeded")
    stack.wait_healthy()


def say_image_sizes() -> None:
    """What `docker images` says."""
    sizes = {name: int(run("docker", "image", "inspect", "-f", "{{.Size}}", f"visema/{name}:0.1.0")) for name in OURS}
    say("images: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))


def check_idle_stops(stack: Stack) -> None:
    """SIGTERM to an idle service: gone within two seconds, with exit status 0."""
    for service in OURS:
        container = stack.container(service)
        took_s = timed(lambda container=container: run("docker", "stop", "-t", "20", container))  # type: ignore[misc]
        code = stack.state(service)["ExitCode"]
        say(f"{service}: gone {took_s:.2f} s after SIGTERM, exit status {code}")
        assert took_s <= STOP_LIMIT_S, service
        assert code == 0, service


def main() -> None:
    """Build, start, check, remove."""
    variables, left_out = choose_images()
    stack = Stack(variables)
    stack.compose("-f", "docker-compose.gpu.yml", "config", "-q")
    for service in OURS:
        say(f"building {service}")
        stack.compose("build", service)
    say_image_sizes()
    services = [name for name in ("object-store", "database", "prometheus", "grafana", *OURS) if name not in left_out]
    with running(stack, services), tempfile.TemporaryDirectory() as folder:
        say("every service is healthy")
        with Visema(f"127.0.0.1:{PORTS['VISEMA_PORT']}") as client:
            check_a_job(client, Path(folder))
            check_privileges(stack)
            check_torch_is_absent(stack)
            check_prometheus()
            check_busy_stop(stack, client)
        check_idle_stops(stack)
    say("all is well")


if __name__ == "__main__":
    main()
