"""The memory of an accelerator that is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class FakeMemory:
    """A `DeviceMemory` that says what a test sets. Attributes: used, free: bytes; need: bytes that any work takes."""

    free: int = 0
    need: int = 1
    used: int = 0
    name: str = "cuda:0"

    def used_bytes(self) -> int:
        return self.used

    def free_bytes(self) -> int:
        return self.free

    def need_bytes(self, compute: Callable[[], object]) -> int:
        compute()
        return self.need
