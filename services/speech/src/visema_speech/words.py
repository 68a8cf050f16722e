"""Word timings from what an engine says about its utterance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from visema_media.audio import Samples

from visema_speech.engines.protocol import SpokenMark, Utterance
from visema_speech.text.scripts import UNSPACED, script_of

_TOKEN = re.compile(r"\S+")
_EDGE = re.compile(r"^[^\w$€£¥%°#@&+]+|[^\w$€£¥%°#@&+]+$")
_SILENCE = 0.004  # of full scale, -48 dB: what follows the last louder sample of a word is a pause
_RELEASE_S = 0.02  # a word's sound dies away a little behind that
_SHORTEST_S = 0.01


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word. Attributes: start_s, end_s: in seconds."""

    word: str
    start_s: float
    end_s: float

    def later(self, offset_s: float) -> TimedWord:
        """The same word, moved."""
        return TimedWord(self.word, self.start_s + offset_s, self.end_s + offset_s)


def timed_words(text: str, utterance: Utterance) -> list[TimedWord]:
    """The words of `text` with their times, in order.

    Engines mark pieces of what a person calls a word (numbers are read as several), so marks are gathered by the words
    of the text; a word that has no mark of its own (a lone dash) is left out.
    """
    if not utterance.marks:
        return []
    samples = utterance.samples[0]
    duration_s = len(samples) / utterance.rate_hz
    starts: list[tuple[str, float]] = []
    for word, first, last in _spans(text, utterance.marks):
        own = [mark.start_s for mark in utterance.marks if first <= mark.position < last]
        if own:
            starts.append((word, min(own)))
    words = []
    previous_s = 0.0
    for index, (word, raw_s) in enumerate(starts):
        start_s = max(raw_s, previous_s)
        next_s = max(starts[index + 1][1], start_s) if index + 1 < len(starts) else duration_s
        end_s = _sound_end(samples, utterance.rate_hz, start_s, next_s)
        words.append(TimedWord(word, start_s, end_s))
        previous_s = end_s
    return words


def _spans(text: str, marks: Sequence[SpokenMark]) -> Iterator[tuple[str, int, int]]:
    """(word, first, end) of everything between spaces; where a script has no spaces, of what begins at a mark."""
    marked = {mark.position for mark in marks}
    for token in _TOKEN.finditer(text):
        cuts = [
            at
            for at in range(token.start() + 1, token.end())
            if at in marked and (script_of(text[at]) in UNSPACED or script_of(text[at - 1]) in UNSPACED)
        ]
        edges = [token.start(), *cuts, token.end()]
        for first, end in pairwise(edges):
            yield _EDGE.sub("", text[first:end]) or text[first:end], first, end


def _sound_end(samples: Samples, rate_hz: int, start_s: float, next_s: float) -> float:
    """End of the sound between two times, without the pause behind it."""
    first, last = round(start_s * rate_hz), round(next_s * rate_hz)
    loud = np.flatnonzero(np.abs(samples[first:last]) > _SILENCE)
    heard_s = (first + int(loud[-1]) + 1) / rate_hz + _RELEASE_S if loud.size else start_s
    return max(min(heard_s, next_s), start_s + _SHORTEST_S)
