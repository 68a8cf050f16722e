"""When and how often a call is made again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from visema_kit.errors import VisemaError

T = TypeVar("T")

_DICE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses between attempts: exponential with full jitter, never shorter than the server asks for.

    Attributes:
        attempts: Calls in a row without success after which the error is raised; 1 never tries again.
        first_pause_s: Longest first pause; doubles with each attempt.
        longest_pause_s: Limit of the doubling.
    """

    attempts: int = 6
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0

    def pause_s(self, failures: int, error: VisemaError) -> float | None:
        """Seconds to wait after this many failures in a row; None when the error is to be raised."""
        if not error.retryable or failures >= self.attempts:
            return None
        limit_s = min(self.longest_pause_s, self.first_pause_s * 2 ** (failures - 1))
        return error.retry_after_s + _DICE.uniform(0.0, limit_s)


class Attempts:
    """Counts failures in a row; a success starts anew."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.failures = 0

    def succeeded(self) -> None:
        """Something arrived."""
        self.failures = 0

    async def failed(self, error: VisemaError) -> None:
        """Wait before the next attempt. Raises: VisemaError: there is none."""
        self.failures += 1
        pause_s = self._policy.pause_s(self.failures, error)
        if pause_s is None:
            raise error
        await asyncio.sleep(pause_s)


async def with_retries(policy: RetryPolicy, call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`, which must be idempotent and raise VisemaError.

    Raises: VisemaError: not retryable, or the attempts are used up.
    """
    attempts = Attempts(policy)
    while True:
        try:
            return await call()
        except VisemaError as error:
            await attempts.failed(error)
