"""What is to be spoken, piece by piece: the plan between a request and an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from visema_kit.digest import DigestPart, digest_of

from visema_speech.engines.protocol import EngineDescription, Voice
from visema_speech.text.cleaning import CleanText
from visema_speech.text.scripts import runs
from visema_speech.text.sentences import Sentence, split_sentences
from visema_speech.voices import Voices


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive words that one voice speaks."""

    voice: Voice
    text: str


@dataclass(frozen=True, slots=True)
class ScriptedSentence:
    """Attributes: pieces: one for each change of voice; pause_s: silence behind it, in seconds."""

    pieces: tuple[Piece, ...]
    pause_s: float


@dataclass(frozen=True, slots=True)
class SpeechScript:
    """A whole text, ready to be spoken.

    Attributes:
        voice: The voice that was asked for or chosen.
        speaking_rate: 0.5 to 2.
        sentences: In order, at least one.
        warnings: Things that a person should know.
    """

    voice: Voice
    speaking_rate: float
    sentences: tuple[ScriptedSentence, ...]
    warnings: tuple[str, ...]

    def digest(self, engine: EngineDescription) -> str:
        """Identity of the speech: everything that shapes it."""
        pieces: list[DigestPart] = [
            [
                [[piece.voice.voice_id, piece.voice.weights_sha256, piece.text] for piece in sentence.pieces],
                sentence.pause_s,
            ]
            for sentence in self.sentences
        ]
        return digest_of("speech", engine.name, engine.version, self.speaking_rate, pieces)


def write_script(text: CleanText, voice: Voice, speaking_rate: float, voices: Voices) -> SpeechScript:
    """Split a text, and give words in a foreign script to a voice that reads it."""
    sentences = tuple(
        ScriptedSentence(tuple(_pieces(sentence, voice, voices)), sentence.pause.value / speaking_rate)
        for sentence in split_sentences(text.text)
    )
    others = sorted({piece.voice.voice_id for sentence in sentences for piece in sentence.pieces} - {voice.voice_id})
    warnings = []
    if others:
        warnings.append(f"Words in another script were spoken by {', '.join(others)}.")
    if text.dropped:
        warnings.append(f"{text.dropped} characters that nobody can speak were left out.")
    return SpeechScript(voice, speaking_rate, sentences, tuple(warnings))


def _pieces(sentence: Sentence, voice: Voice, voices: Voices) -> Iterator[Piece]:
    """Runs of one voice; neighbours with the same voice are one piece."""
    start, speaker = 0, None
    for run in runs(sentence.text):
        chosen = voices.for_run(run, sentence.text, voice)
        if speaker is not None and chosen != speaker:
            if words := sentence.text[start : run.start].strip():
                yield Piece(speaker, words)
            start = run.start
        speaker = chosen
    if speaker is not None and (words := sentence.text[start:].strip()):
        yield Piece(speaker, words)
