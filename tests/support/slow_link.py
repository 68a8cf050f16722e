"""A network between two processes: TCP connections with a delay, which can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


class SlowLink:
    """Hands bytes on to `target` and back, each `delay_s` after it came."""

    def __init__(self, target: str, delay_s: float) -> None:
        self.address = ""
        self._target = target
        self._delay_s = delay_s
        self._ends: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections, without a word; what was on its way is lost."""
        for end in list(self._ends):
            end.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        host, _, port = self._target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._hand_on(reader, far_writer))
                both.create_task(self._hand_on(far_reader, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due_s, content = await on_the_way.get()
                await asyncio.sleep(due_s - loop.time())
                if not content:
                    return
                writer.write(content)
                await writer.drain()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(arrive())
                content = b"begin"
                while content:
                    content = await reader.read(CHUNK_BYTES)
                    on_the_way.put_nowait((loop.time() + self._delay_s, content))
        except* OSError:  # cut, or closed by one end
            pass
        writer.transport.abort()


@asynccontextmanager
async def slow_link(target: str, delay_s: float) -> AsyncIterator[SlowLink]:
    """A link to `host:port` while the block runs; its own address is on the loopback interface."""
    link = SlowLink(target, delay_s)
    server = await asyncio.start_server(link.connect, "127.0.0.1", 0)
    link.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield link
    finally:
        server.close()
        link.cut()
