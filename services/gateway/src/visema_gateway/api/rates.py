"""Token buckets: how often a caller may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from visema_kit.auth import TokenTable
from visema_kit.errors import Unauthenticated

from visema_gateway.core.callers import caller_of
from visema_gateway.settings import GatewaySettings

BUCKETS_KEPT: Final = 10_000
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RateLimit:
    """Token buckets by name: `rate_per_s` for long, `burst_s` seconds of it at once."""

    def __init__(self, rate_per_s: float, burst_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s * burst_s)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, when)

    def wait_s(self, *names: str, now_s: float | None = None) -> float:
        """Take a token from each of these buckets, or none from any.

        Returns: 0 when each had one, else the seconds until all will have.
        """
        now_s = time.monotonic() if now_s is None else now_s
        filled = {name: self._filled(name, now_s) for name in names}
        missing = max(1.0 - tokens for tokens in filled.values())
        for name, tokens in filled.items():
            self._buckets[name] = (tokens if missing > 0 else tokens - 1.0, now_s)
            self._buckets.move_to_end(name)
        while len(self._buckets) > BUCKETS_KEPT:
            self._buckets.popitem(last=False)
        return max(0.0, missing / self._rate_per_s)

    def _filled(self, name: str, now_s: float) -> float:
        tokens, then_s = self._buckets.get(name, (self._size, now_s))
        return min(self._size, tokens + (now_s - then_s) * self._rate_per_s)


class RateLimits:
    """Who may ask how often. Args: tokens: where they are known, a tenant is a caller; else a token is."""

    def __init__(self, settings: GatewaySettings, tokens: TokenTable | None) -> None:
        self._reads = RateLimit(settings.read_rate_per_s, settings.rate_burst_s)
        self._writes = RateLimit(settings.write_rate_per_s, settings.rate_burst_s)
        self._tokens = tokens

    def wait_s(self, method: str, authorization: str | None, address: str) -> float:
        """Count a request. Returns: 0 when it may be served, else the seconds after which it may come again."""
        limit = self._reads if method in READING else self._writes
        return limit.wait_s(*self._names(authorization, address))

    def _names(self, authorization: str | None, address: str) -> tuple[str, ...]:
        try:
            caller = caller_of(authorization, self._tokens)
        except Unauthenticated:
            return (f"address {address}",)
        if self._tokens is not None:
            return (f"tenant {caller.scope}",)
        if caller.token is None:
            return (f"address {address}",)
        return (caller.scope, f"any token from {address}")  # made-up tokens must not give made-up rates
