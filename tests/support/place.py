"""Where a server of a test runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A network that a process can be in.

    Attributes:
        host: The address that servers listen on there.
        command: What starts a program there, in front of it.
    """

    host: str = "127.0.0.1"
    command: tuple[str, ...] = ()


HERE = Place()
