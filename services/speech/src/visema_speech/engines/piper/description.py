"""What `NAME.onnx.json` says about a voice, and text as the numbers that its network reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from visema_kit.errors import CheckpointMissing

_PAD, _BEGIN, _END = "_", "^", "$"
_SPOKEN_MARKS = ",;:?!"
_ASCII_MARKS = str.maketrans("，、；：？！。…", ",,;:?!..")
_CLOSING = "\"'”’»)]」』） "
_SWITCH = re.compile(r"\([a-z-]+\)")  # eSpeak NG notes where it changes the language


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Audio(_Part):
    sample_rate: int = Field(ge=8000, le=96_000)


class _Espeak(_Part):
    voice: str = Field(min_length=1)


class _Inference(_Part):
    noise_scale: float = Field(default=0.667, ge=0)
    length_scale: float = Field(default=1.0, gt=0)
    noise_w: float = Field(default=0.8, ge=0)


class _Language(_Part):
    code: str


class VoiceDescription(_Part):
    """The file's content, as far as it matters here.

    Attributes:
        audio: Rate of the network's sound in Hz.
        espeak: The eSpeak NG voice whose phonemes the network was trained with.
        inference: Defaults: noise of the sound, length of the phonemes, noise of their length.
        phoneme_type: Only eSpeak NG's phonemes are known here.
        phoneme_id_map: What the network reads for each phoneme.
        num_speakers: Above 1 the network is told which of them speaks.
        speaker_id_map: Names of the speakers.
        language: As the publisher names it, e.g. `en_US`.
    """

    audio: _Audio
    espeak: _Espeak
    inference: _Inference = _Inference()
    phoneme_type: Literal["espeak"] = "espeak"
    phoneme_id_map: dict[str, tuple[int, ...]]
    num_speakers: int = Field(default=1, ge=1)
    speaker_id_map: dict[str, int] = {}
    language: _Language | None = None

    @field_validator("phoneme_id_map")
    @classmethod
    def _knows_the_marks(cls, ids: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        if missing := {_PAD, _BEGIN, _END} - ids.keys():
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        return ids

    @classmethod
    def parse(cls, name: str, content: bytes) -> VoiceDescription:
        """Raises: CheckpointMissing: it does not describe a voice of this format."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CheckpointMissing(
                f"{name}.onnx.json does not describe a Piper voice: {where} {first['msg']}.", metadata={"voice": name}
            ) from error

    @property
    def language_tag(self) -> str:
        """BCP 47 tag of what it speaks."""
        return (self.language.code if self.language else self.espeak.voice).replace("_", "-").lower()

    def network_input(self, phonemes: str) -> npt.NDArray[np.int64]:
        """The ids of a sentence, padding between them as in training; phonemes that the network never met are left out.

        Returns: int64 (1, T).
        """
        padding = self.phoneme_id_map[_PAD]
        ids = [*self.phoneme_id_map[_BEGIN], *padding]
        for phoneme in unicodedata.normalize("NFD", phonemes):
            if known := self.phoneme_id_map.get(phoneme):
                ids += [*known, *padding]
        return np.array([[*ids, *self.phoneme_id_map[_END]]], np.int64)


def spoken_phonemes(clauses: Iterable[tuple[str, str]], text: str) -> str:
    """The phonemes of a sentence with the marks that shape its melody.

    Args:
        clauses: eSpeak NG's phonemes of each clause and the text that it read for them, which ends a little behind it.
        text: The sentence. A full stop inside it ends an abbreviation and nothing else.
    """
    spoken = []
    for phonemes, source in clauses:
        marks = [mark for mark in source.translate(_ASCII_MARKS) if mark in _SPOKEN_MARKS]
        spoken.append(_SWITCH.sub("", phonemes) + (marks[-1] if marks else ""))
    sentence = " ".join(filter(None, spoken)).rstrip(_SPOKEN_MARKS)
    last = text.translate(_ASCII_MARKS).rstrip(_CLOSING)[-1:]
    return sentence + (last if last in {*_SPOKEN_MARKS, "."} else "")
