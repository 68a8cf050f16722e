"""A real PostgreSQL server in a temporary folder, on a Unix socket and a loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.ports import free_ports

BINARIES = Path("/usr/lib/postgresql/15/bin")


def missing_reason() -> str:
    """Why no server can be started here; empty when one can."""
    if not (BINARIES / "initdb").exists():
        return f"PostgreSQL 15 is not in {BINARIES}"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "PostgreSQL does not run as root and there is no user `postgres`"
    return ""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int

    def create_database(self, name: str) -> str:
        """Make an empty database. Returns: its URL."""
        subprocess.run(
            [BINARIES / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "visema", name], check=True
        )
        return f"postgresql://visema@127.0.0.1:{self.port}/{name}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server without durability (tests do not survive a power cut either), stopped and removed at the end."""
    user = _unprivileged() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="visema-pg-"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
        initdb = [
            BINARIES / "initdb",
            "-D",
            data,
            "-U",
            "visema",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **identity)
        (port,) = free_ports(1)
        options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(folder)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [BINARIES / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **identity
            )
            try:
                _wait(port, server)
                yield Postgres(port)
            finally:
                server.terminate()
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    ready = [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    while subprocess.run(ready, check=False).returncode:
        if server.poll() is not None:
            raise RuntimeError("PostgreSQL did not start")


def _unprivileged() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None
