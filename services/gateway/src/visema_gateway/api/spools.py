"""Files that arrive piece by piece: small ones stay in memory, large ones go to disk, off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

from visema_client.media import KnownFile
from visema_kit.scratch import room_on

IN_MEMORY_BYTES: Final = 1 << 20  # most portraits and a few seconds of speech
DISK: Final = "the gateway's disk"

Received = bytes | KnownFile


class Spools:
    """The files of one form; what is on disk goes when the block ends."""

    def __init__(self) -> None:
        self._spools: list[Spool] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def open(self) -> Spool:
        """A new file."""
        spool = Spool()
        self._spools.append(spool)
        return spool

    async def settle(self) -> None:
        """Write what has become too much for the memory. Raises: ScratchFull."""
        for number, spool in enumerate(self._spools):
            if spool.is_full:
                with room_on(DISK):
                    await asyncio.to_thread(spool.spill, self._path(number))

    async def close(self) -> None:
        """Remove everything."""
        for spool in self._spools:
            spool.close()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.cleanup)

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="visema-form-")
        return Path(self._folder.name) / f"file-{number}"  # never the client's name


class Spool:
    """A file that is being received."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._written_bytes = 0
        self._digest = hashlib.sha256()
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    @property
    def size_bytes(self) -> int:
        """All that has come."""
        return self._written_bytes + len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether more waits than shall be in memory."""
        return len(self._waiting) > IN_MEMORY_BYTES

    def take(self, data: bytes) -> None:
        """The next piece."""
        self._waiting += data

    def spill(self, path: Path) -> None:
        """Write what waits. Call in a thread. Raises: OSError."""
        if self._file is None:
            self._path, self._file = path, path.open("wb", buffering=0)
        left = memoryview(self._waiting)
        while left:  # a disk that fills up takes a part, and refuses the rest
            left = left[self._file.write(left) :]
        self._digest.update(self._waiting)
        self._written_bytes += len(self._waiting)
        self._waiting = bytearray()

    async def received(self) -> Received:
        """The whole file. Raises: ScratchFull."""
        if self._path is None:
            return bytes(self._waiting)
        with room_on(DISK):
            await asyncio.to_thread(self.spill, self._path)
        self.close()
        return KnownFile(self._path, self._written_bytes, self._digest.hexdigest())

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            self._file.close()
