"""What torch's allocator takes of a CUDA card for tensors of given sizes: its rules in plain Python, without a card.

Sizes are rounded to 512 bytes and cut from segments of 2 MiB (for at most 1 MiB), 20 MiB (below 10 MiB) or their own
size; the smallest free piece that fits is taken, pieces are split and joined again, and empty segments are given back
only when the card is full. These are the allocator's defaults: no expandable segments, one stream.

Source: "CUDA semantics: memory management" of PyTorch's documentation.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Final

MEBIBYTE: Final = 1 << 20
BLOCK_BYTES: Final = 512
SMALL_BYTES: Final = MEBIBYTE  # what is larger comes from the other kind of segments
SMALL_SEGMENT_BYTES: Final = 2 * MEBIBYTE
LARGE_BYTES: Final = 10 * MEBIBYTE  # from here on a segment of its own
LARGE_SEGMENT_BYTES: Final = 20 * MEBIBYTE
ROUNDING_BYTES: Final = 2 * MEBIBYTE  # of such a segment


def rounded(size: int, multiple: int) -> int:
    """`size` up to the next multiple, at least one."""
    return max(1, -(-size // multiple)) * multiple


class CardFull(MemoryError):
    """There is no room, also after all empty segments were given back."""


@dataclass
class Card:
    """A card's memory, which the allocators of several processes share. Attributes: taken_bytes: by whatever else."""

    total_bytes: int
    taken_bytes: int = 0

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - self.taken_bytes


@dataclass(eq=False)
class Block:
    """A piece of a segment, free or not, between its neighbours."""

    size: int
    serial: int
    pool: list[Block]
    before: Block | None = None
    after: Block | None = None
    free: bool = True

    @property
    def order(self) -> tuple[int, int]:
        """Smallest first, then the oldest."""
        return self.size, self.serial


class CachingAllocator:
    """One process's share of a card.

    Attributes:
        card: Of which it takes.
        allocated_bytes, reserved_bytes: In tensors; in segments, which no other process can have.
        peak_allocated_bytes, peak_reserved_bytes: The most since `reset_peaks`.
        limit_bytes: Most that may be reserved; None for the card's.
    """

    def __init__(self, card: Card, limit_bytes: int | None = None) -> None:
        self.allocated_bytes = self.reserved_bytes = 0
        self.peak_allocated_bytes = self.peak_reserved_bytes = 0
        self.limit_bytes = limit_bytes
        self.card = card
        self._small: list[Block] = []  # free blocks by size
        self._large: list[Block] = []
        self._serial = 0

    def reset_peaks(self) -> None:
        """Begin again from what is there now."""
        self.peak_allocated_bytes, self.peak_reserved_bytes = self.allocated_bytes, self.reserved_bytes

    def allocate(self, size: int) -> Block:
        """Room for a tensor. Raises: CardFull."""
        size = rounded(size, BLOCK_BYTES)
        pool = self._small if size <= SMALL_BYTES else self._large
        at = bisect.bisect_left(pool, (size, 0), key=lambda block: block.order)
        block = pool.pop(at) if at < len(pool) else self._new_segment(size, pool)
        block.free = False
        rest = block.size - size
        if rest >= BLOCK_BYTES if pool is self._small else rest > SMALL_BYTES:
            self._split(block, size)
        self.allocated_bytes += block.size
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return block

    def release(self, block: Block) -> None:
        """The tensor is gone."""
        self.allocated_bytes -= block.size
        block.free = True
        for neighbour in (block.before, block.after):
            if neighbour is not None and neighbour.free:
                block.pool.remove(neighbour)
                self._join(block, neighbour)
        bisect.insort(block.pool, block, key=lambda each: each.order)

    def empty_cache(self) -> None:
        """Give segments back that hold nothing."""
        for pool in (self._small, self._large):
            for block in [each for each in pool if each.before is None and each.after is None]:
                pool.remove(block)
                self._reserve(-block.size)

    def _new_segment(self, size: int, pool: list[Block]) -> Block:
        if pool is self._small:
            segment = SMALL_SEGMENT_BYTES
        else:
            segment = LARGE_SEGMENT_BYTES if size < LARGE_BYTES else rounded(size, ROUNDING_BYTES)
        if not self._fits(segment):
            self.empty_cache()
        if not self._fits(segment):
            raise CardFull(f"no room for {segment} bytes beside {self.reserved_bytes}")
        self._reserve(segment)
        return self._block(segment, pool)

    def _fits(self, segment: int) -> bool:
        limit = self.limit_bytes
        return segment <= self.card.free_bytes and (limit is None or self.reserved_bytes + segment <= limit)

    def _reserve(self, size: int) -> None:
        self.reserved_bytes += size
        self.card.taken_bytes += size
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)

    def _block(self, size: int, pool: list[Block]) -> Block:
        self._serial += 1
        return Block(size, self._serial, pool)

    def _split(self, block: Block, size: int) -> None:
        rest = self._block(block.size - size, block.pool)
        rest.before, rest.after = block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        bisect.insort(block.pool, rest, key=lambda each: each.order)

    @staticmethod
    def _join(block: Block, neighbour: Block) -> None:
        block.size += neighbour.size
        if neighbour is block.before:
            block.before = neighbour.before
            if block.before is not None:
                block.before.after = block
        else:
            block.after = neighbour.after
            if block.after is not None:
                block.after.before = block
