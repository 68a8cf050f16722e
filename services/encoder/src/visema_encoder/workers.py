"""The threads that encode: each job keeps to one of them, since an encoder must not be used by two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from visema_kit.executor import DeviceThread


class Workers:
    """Some encoding threads and one that decodes segments ahead."""

    def __init__(self, count: int) -> None:
        self._encoding = [DeviceThread(f"encode-{number}") for number in range(count)]
        self._jobs = dict.fromkeys(self._encoding, 0)
        self.decoding = DeviceThread("decode")

    @contextmanager
    def lease(self) -> Iterator[DeviceThread]:
        """The thread with the fewest jobs, which take turns on it."""
        thread = min(self._encoding, key=lambda candidate: self._jobs[candidate])
        self._jobs[thread] += 1
        try:
            yield thread
        finally:
            self._jobs[thread] -= 1

    async def aclose(self) -> None:
        """Stop all threads after what they are doing."""
        await asyncio.gather(*(thread.aclose() for thread in (*self._encoding, self.decoding)))
