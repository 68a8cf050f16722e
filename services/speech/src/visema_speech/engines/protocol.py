"""What the pipeline asks of an engine that speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from visema_media.audio import Samples


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What speaks.

    Attributes:
        name: Engine name, a small closed set.
        version: Version of code and data; part of every object key.
        device: E.g. `cpu`.
        capabilities: E.g. `word-timings`.
    """

    name: str
    version: str
    device: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of an engine.

    Attributes:
        voice_id: Name to ask for, `<engine>/<voice>`.
        display_name: Name for a person.
        languages: BCP 47 tags, the best first.
        engine: Name of the engine.
        license: SPDX expression.
        scripts: Scripts (see `text.scripts`) that it reads as words; others it would spell or leave out.
        variant: What tells it from the plain voice of the same language; empty for the plain one.
        weights_sha256: Over the files that it is made of; empty where the engine has none.
    """

    voice_id: str
    display_name: str
    languages: tuple[str, ...]
    engine: str
    license: str
    scripts: frozenset[str]
    variant: str = ""
    weights_sha256: str = ""

    @property
    def main_language(self) -> str:
        """First part of its first language, e.g. `pt`."""
        return self.languages[0].partition("-")[0]


@dataclass(frozen=True, slots=True)
class SpokenMark:
    """Where in the text the voice is at a time.

    Attributes:
        position: Index of a character, the first of something spoken.
        start_s: When it begins, in seconds from the start of the utterance.
    """

    position: int
    start_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Some spoken text.

    Attributes:
        samples: float32 (1, n) in [-1, 1].
        rate_hz: Samples per second.
        marks: In the order of time.
    """

    samples: Samples
    rate_hz: int
    marks: tuple[SpokenMark, ...]


class SpeechEngine(Protocol):
    """Speaks pieces of text. Every method but `describe` and `voices` is called on the device thread only."""

    def describe(self) -> EngineDescription:
        """What speaks; cheap, any thread, after `load`."""
        ...

    def load(self) -> None:
        """Make ready. Raises: CheckpointMissing: it cannot run here."""
        ...

    def voices(self) -> tuple[Voice, ...]:
        """All voices, after `load`; cheap, any thread."""
        ...

    def speak(self, voice: Voice, text: str, speaking_rate: float) -> Utterance:
        """Speak a piece of a sentence or a whole one: cleaned text of some hundred characters.

        Args: speaking_rate: 0.5 to 2; 1 is the voice's own speed.
        Raises: InvalidInput: this text cannot be spoken.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
