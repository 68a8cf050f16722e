"""Questions that come at the same time are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Batches(Generic[Q, A]):
    """Answers in batches, one after the other: who comes while one is being answered waits for the next.

    No answer is older than its question.

    Args: answer: Gives one answer to each question, in their order.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._answer = answer
        self._open: list[Q] = []  # questions of the batch that is not being answered yet
        self._newest: asyncio.Task[Sequence[A]] | None = None
        self._answered = 0  # questions of the batch that was answered last

    @property
    def crowd(self) -> int:
        """How many ask at this moment: the batch that was answered last, and whoever waits for the next."""
        return self._answered + len(self._open)

    async def ask(self, question: Q) -> A:
        """The answer. Raises: whatever `answer` raises, for everybody in the batch."""
        self._open.append(question)
        index = len(self._open) - 1
        if self._newest is None or index == 0:
            self._newest = asyncio.create_task(self._answer_after(self._newest))
        answers = await asyncio.shield(self._newest)  # who goes away does not take the answer from the others
        return answers[index]

    async def _answer_after(self, earlier: asyncio.Task[Sequence[A]] | None) -> Sequence[A]:
        if earlier is not None:
            await asyncio.wait([earlier])
        questions, self._open = self._open, []
        answers = await self._answer(questions)
        self._answered = len(questions)
        return answers
