"""A network between two processes: TCP connections with a delay, which can be cut."""

from __future__ import annotations

import asyncio

from support.relay import CHUNK_BYTES, Relay


class SlowLink(Relay):
    """Hands bytes on to `target` and back, each `delay_s` after it came."""

    def __init__(self, target: str, delay_s: float) -> None:
        super().__init__()
        self._target = target
        self._delay_s = delay_s

    def target(self) -> str:
        """Always the same."""
        return self._target

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each piece arrives when its time has come."""
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
