"""What a Kubernetes service is to its clients: one address, behind which replicas come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


class Balancer:
    """Hands each new connection to a replica; where it went it stays, also when that replica is taken off the list.

    Attributes:
        address: Where clients connect.
        replicas: `host:port` of those that get new connections, in turn.
    """

    def __init__(self) -> None:
        self.address = ""
        self.replicas: list[str] = []
        self._turn = 0
        self._ends: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections."""
        for end in list(self._ends):
            end.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: bytes, ends and breaks go on in both directions as they come."""
        self._turn += 1
        host, _, port = self.replicas[self._turn % len(self.replicas)].rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_hand_on(reader, far_writer))
                both.create_task(_hand_on(far_reader, writer))
        except* OSError:  # broken by one end: the other is told the same way
            pass
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(CHUNK_BYTES):
        writer.write(content)
        await writer.drain()
    writer.write_eof()


@asynccontextmanager
async def running_balancer(*replicas: str) -> AsyncIterator[Balancer]:
    """A balancer on a free port of the loopback interface while the block runs."""
    balancer = Balancer()
    balancer.replicas.extend(replicas)
    server = await asyncio.start_server(balancer.connect, "127.0.0.1", 0)
    balancer.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        balancer.cut()
