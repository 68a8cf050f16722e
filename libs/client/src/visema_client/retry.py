"""When and how often a call is made again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from visema_kit.errors import VisemaError

from visema_client.errors import ServerUnreachable

T = TypeVar("T")

_DICE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses between attempts: exponential with full jitter, never shorter than the server asks for.

    Attributes:
        attempts: Calls in a row without success after which the error is raised; 1 never tries again.
        first_pause_s: Longest first pause; doubles with each attempt.
        longest_pause_s: Limit of the doubling.
        away_s: How long a server that has answered before may be away, as while it restarts; failures to reach it do
            not count meanwhile.
    """

    attempts: int = 6
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    away_s: float = 60.0

    def may_go_on(self, failures: int, error: VisemaError) -> bool:
        """Whether to try again after this many failures in a row."""
        return error.retryable and failures < self.attempts

    def may_be_away(self, away_s: float) -> bool:
        """Whether to wait for a server that has been away for so long."""
        return self.attempts > 1 and away_s < self.away_s

    def pause_s(self, failures: int, error: VisemaError) -> float:
        """Seconds to wait after this many failures in a row."""
        limit_s = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return error.retry_after_s + _DICE.uniform(0.0, limit_s)


@dataclass(slots=True)
class Contact:
    """What a client knows of its server. Attributes: made: it has answered."""

    made: bool = False


class Attempts:
    """Counts failures in a row; a success starts anew."""

    def __init__(self, policy: RetryPolicy, contact: Contact) -> None:
        self._policy = policy
        self._contact = contact
        self._failures = 0
        self._unreached = 0
        self._away_since: float | None = None

    def succeeded(self) -> None:
        """Something arrived."""
        self._failures, self._unreached, self._away_since = 0, 0, None

    async def failed(self, error: VisemaError) -> None:
        """Wait before the next attempt. Raises: VisemaError: there is none."""
        await asyncio.sleep(self._pause_s(error))

    def _pause_s(self, error: VisemaError) -> float:
        if isinstance(error, ServerUnreachable) and self._contact.made:
            now = time.monotonic()
            self._away_since = self._away_since or now
            if self._policy.may_be_away(now - self._away_since):
                self._unreached += 1
                return self._policy.pause_s(self._unreached, error)
            raise error
        self._unreached, self._away_since = 0, None
        self._failures += 1
        if not self._policy.may_go_on(self._failures, error):
            raise error
        return self._policy.pause_s(self._failures, error)


async def with_retries(attempts: Attempts, call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`, which must be idempotent and raise VisemaError.

    Raises: VisemaError: not retryable, or the attempts are used up.
    """
    while True:
        try:
            return await call()
        except VisemaError as error:
            await attempts.failed(error)
