"""Loopback ports for the servers of tests, of which each belongs to one test process as long as that runs."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path

# Below those that the local stack takes and that the system gives to outgoing connections.
FIRST_PORT, LAST_PORT = 10_000, 18_999

_offset = (os.getpid() * 37) % (LAST_PORT - FIRST_PORT)  # processes that start together search different parts first
_candidates = itertools.cycle((*range(FIRST_PORT + _offset, LAST_PORT), *range(FIRST_PORT, FIRST_PORT + _offset)))
_claims = Path(tempfile.gettempdir()) / f"visema-test-ports-{os.getuid()}"  # its byte N is locked by the user of port N
_descriptor = os.open(_claims, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
_ours: set[int] = set()  # a process may lock a byte twice


def free_ports(count: int) -> list[int]:
    """Ports that are free now. No other test process is given them, nor probes them, until this one ends.

    A server that got one may thus start later, or stop and come back.

    Raises: OSError: the machine has too few.
    """
    ports: list[int] = []
    for candidate in itertools.islice(_candidates, LAST_PORT - FIRST_PORT):
        if len(ports) == count:
            return ports
        if candidate not in _ours and _claim(candidate) and _is_free(candidate):
            ports.append(candidate)
    raise OSError(f"found only {len(ports)} of {count} free ports between {FIRST_PORT} and {LAST_PORT}")


def _claim(port: int) -> bool:
    """Lock the port's byte, which the system unlocks when this process ends."""
    try:
        fcntl.lockf(_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _ours.add(port)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
