"""TCP connections that pass through the test, which can cut them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

CHUNK_BYTES = 65_536


class Relay(ABC):
    """Connects each of its clients with another server; a break on one side is a break on the other.

    Attributes:
        address: Where clients connect.
    """

    def __init__(self) -> None:
        self.address = ""
        self._ends: set[asyncio.StreamWriter] = set()

    @abstractmethod
    def target(self) -> str:
        """`host:port` for a new connection."""

    @abstractmethod
    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what comes in one direction until it ends. Raises: OSError: broken by one end."""

    def cut(self) -> None:
        """Break all connections, without a word; what was on its way is lost."""
        for end in list(self._ends):
            end.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        host, _, port = self.target().rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.hand_on(reader, far_writer))
                both.create_task(self.hand_on(far_reader, writer))
        except* OSError:  # the other end is told the same way
            pass
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


R = TypeVar("R", bound=Relay)


@asynccontextmanager
async def running_relay(relay: R) -> AsyncIterator[R]:
    """The relay on a free port of the loopback interface while the block runs."""
    server = await asyncio.start_server(relay.connect, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
