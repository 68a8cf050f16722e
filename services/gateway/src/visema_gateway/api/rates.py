"""Token buckets: how often a caller may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

BUCKETS_KEPT: Final = 10_000


class RateLimit:
    """Token buckets by name: `rate_per_s` for long, `burst_s` seconds of it at once."""

    def __init__(self, rate_per_s: float, burst_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s * burst_s)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, when)

    def wait_s(self, name: str, now_s: float | None = None) -> float:
        """Take a token. Returns: 0 when there was one, else the seconds until there will be."""
        now_s = time.monotonic() if now_s is None else now_s
        tokens, then_s = self._buckets.pop(name, (self._size, now_s))
        tokens = min(self._size, tokens + (now_s - then_s) * self._rate_per_s)
        allowed = tokens >= 1.0
        self._buckets[name] = (tokens - 1.0 if allowed else tokens, now_s)
        if len(self._buckets) > BUCKETS_KEPT:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._rate_per_s
