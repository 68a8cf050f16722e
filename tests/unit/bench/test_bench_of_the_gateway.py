"""The bench of the gateway notices each event that a client did not get."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

LOST = runpy.run_path(str(Path(__file__).resolve().parents[3] / "bench" / "gateway.py"))["lost"]


@pytest.mark.parametrize(
    ("streams", "lost"),
    [
        ([(1, 2, 3, 4, 5), (1, 2, 3, 4, 5)], 0),
        ([(1, 2, 3, 4, 5), (1, 2, 3, 5)], 1),
        ([(1, 2, 3, 5), (1, 2, 3, 5)], 2),
        ([(1, 2, 3, 4, 5), (1, 2, 3, 4)], 1),
        ([(2, 3, 4), (1, 2, 3, 4)], 1),
    ],
    ids=["none", "one stream misses one", "nobody saw one", "the last one", "the first one"],
)
def test_an_event_that_a_stream_did_not_see_is_lost(streams: list[tuple[int, ...]], lost: int) -> None:
    assert LOST(streams) == lost


def test_progress_from_before_anybody_looked_is_not_lost() -> None:
    assert LOST([(1, 2, 7, 8, 9), (1, 2, 7, 8, 9)]) == 0
    assert LOST([(1, 2, 7, 8, 9), (1, 2, 8, 9)]) == 1
