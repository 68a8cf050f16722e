"""What a Kubernetes service is to its clients: one address, behind which replicas come and go."""

from __future__ import annotations

import asyncio

from support.relay import CHUNK_BYTES, Relay


class Balancer(Relay):
    """Hands each new connection to a replica; where it went it stays, also when that replica is taken off the list.

    Attributes:
        replicas: `host:port` of those that get new connections, in turn.
    """

    def __init__(self, *replicas: str) -> None:
        super().__init__()
        self.replicas = list(replicas)
        self._turn = 0

    def target(self) -> str:
        """The replica whose turn it is."""
        self._turn += 1
        return self.replicas[self._turn % len(self.replicas)]

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes and ends go on as they come."""
        while content := await reader.read(CHUNK_BYTES):
            writer.write(content)
            await writer.drain()
        writer.write_eof()
