"""Opens a broken stage stream again: when, how long, and with which pauses."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from visema_kit.errors import Code, DeviceBusy, VisemaError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How faults of a stage are answered.

    Attributes:
        patience_s: Time without any progress after which a stage that does not answer is given up.
        first_pause_s: Pause after the first fault; doubles with each further one.
        longest_pause_s: Limit of the pause.
    """

    patience_s: float = 180.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 2.0

    def pause_s(self, fault_count: int, retry_after_s: float) -> float:
        """Pause after the `fault_count`-th fault in a row (from 1), with jitter of half its length.

        What the stage asks for is honoured up to the limit.
        """
        pause = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (fault_count - 1))
        pause = min(self.longest_pause_s, max(pause, retry_after_s))
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


class StageAttempts:
    """Repeats one stage's call until it succeeds, fails for good, or makes no progress for too long."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.retry_count = 0
        self._fault_count = 0
        self._failing_since: float | None = None

    async def run(self, attempt: Callable[[], Awaitable[None]], progress: Callable[[], int]) -> None:
        """Await `attempt()` until it returns.

        A busy device is waited for as long as the job's deadline allows: it is a queue, not a fault.

        Args: progress: any count that rises while an attempt gets somewhere; a rise forgives earlier faults.
        Raises: VisemaError: not retryable, or without progress for longer than the policy's patience.
        """
        while True:
            before = progress()
            try:
                await attempt()
            except VisemaError as error:
                if progress() > before:
                    self._fault_count, self._failing_since = 0, None
                self._fault_count += 1
                if not self._may_go_on(error):
                    raise
                self.retry_count += 1
                await asyncio.sleep(self._policy.pause_s(self._fault_count, error.retry_after_s))
            else:
                return

    def _may_go_on(self, error: VisemaError) -> bool:
        if isinstance(error, DeviceBusy):
            self._failing_since = None
            return True
        if error.code is not Code.UNAVAILABLE:
            return False
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since < self._policy.patience_s
