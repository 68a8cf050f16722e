"""A cache that forgets what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Keeps the values used last within a bound. Not thread-safe: used from one thread or one event loop."""

    def __init__(self, capacity: int, weigh: Callable[[V], int]) -> None:
        """Make an empty cache.

        Args:
            capacity: Sum of the weights that are kept; 0 keeps nothing.
            weigh: Weight of a value, in the unit of `capacity`.
        """
        self._capacity = capacity
        self._weigh = weigh
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> V | None:
        """The value of `key`, marked as used; None when it is not here."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value; what was used longest ago goes, in the end the value itself when it is too heavy."""
        replaced = self._values.pop(key, None)
        if replaced is not None:
            self._weight -= self._weigh(replaced)
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity:
            _, oldest = self._values.popitem(last=False)
            self._weight -= self._weigh(oldest)

    def clear(self) -> int:
        """Forget everything. Returns: how many values that were."""
        count = len(self._values)
        self._values.clear()
        self._weight = 0
        return count
