"""Questions that come together are answered together, and never with an answer that is older than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from visema_orchestrator.batches import Batches


class Clerk:
    """Answers with the number of the batch. Attributes: batches: questions of each batch; open: lets answers out."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = asyncio.Event()
        self.open = asyncio.Event()

    async def answer(self, questions: Sequence[str]) -> list[tuple[str, int]]:
        self.batches.append(list(questions))
        number = len(self.batches)
        self.began.set()
        await self.open.wait()
        if "wrong" in questions:
            raise ValueError("a wrong question")
        return [(question, number) for question in questions]


async def test_questions_of_one_moment_are_one_batch_and_each_gets_its_own_answer() -> None:
    clerk = Clerk()
    clerk.open.set()
    batches = Batches(clerk.answer)
    answers = await asyncio.gather(*(batches.ask(str(number)) for number in range(60)))
    assert answers == [(str(number), 1) for number in range(60)]
    assert await batches.ask("later") == ("later", 2)


async def test_who_asks_while_a_batch_is_being_answered_gets_a_newer_answer() -> None:
    clerk = Clerk()
    batches = Batches(clerk.answer)
    first = asyncio.create_task(batches.ask("first"))
    await clerk.began.wait()
    others = [asyncio.create_task(batches.ask(name)) for name in ("second", "third")]
    await asyncio.sleep(0)  # they have asked
    clerk.open.set()
    assert await first == ("first", 1)
    assert await asyncio.gather(*others) == [("second", 2), ("third", 2)]
    assert clerk.batches == [["first"], ["second", "third"]]


async def test_a_fault_reaches_everybody_in_its_batch_and_nobody_else() -> None:
    clerk = Clerk()
    batches = Batches(clerk.answer)
    asked = [asyncio.create_task(batches.ask(name)) for name in ("right", "wrong")]
    await clerk.began.wait()
    after = asyncio.create_task(batches.ask("after"))
    clerk.open.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]
    assert await after == ("after", 2)


async def test_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    clerk = Clerk()
    batches = Batches(clerk.answer)
    leaving, staying = (asyncio.create_task(batches.ask(name)) for name in ("leaving", "staying"))
    await clerk.began.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    clerk.open.set()
    assert await staying == ("staying", 1)
