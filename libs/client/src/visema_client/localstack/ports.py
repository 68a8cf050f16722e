"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below 32768, where Linux starts to take ports for outgoing connections: nobody gets one of these by accident between
# our look and the child's bind.
FIRST_PORT, LAST_PORT = 20_000, 32_000
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is not "in use"
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct ports that are free now, chosen at random so that two stacks that start together rarely meet.

    Raises: OSError: the machine has too few free ports.
    """
    chosen: list[int] = []
    dice = random.SystemRandom()
    for _ in range(ATTEMPTS):
        if len(chosen) == count:
            return chosen
        port = dice.randrange(FIRST_PORT, LAST_PORT)
        if port not in chosen and is_free(port):
            chosen.append(port)
    raise OSError(f"found only {len(chosen)} of {count} free ports between {FIRST_PORT} and {LAST_PORT}")


def accepts(port: int) -> bool:
    """Whether something listens on this port of the loopback interface."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False
