"""Compares mouth plans with recorded people: half an hour of prompts in five languages, spoken by four persons.

`python bench/recordings.py` prints the table of `bench/visemes.py` for the sounds that people made. It needs
`pip install pocketsphinx espeakng-loader`, and on Debian `apt-get install asterisk-core-sounds-{en,es,fr,it,ru}`
with the `-g722` recordings of each.

eSpeak NG says how the words of a prompt are pronounced, and PocketSphinx finds where in the recording each sound lies
with its English acoustic model (other languages' sounds stand for their nearest English ones). That is right to a
frame or two; a fifth of the prompts, those that fit worst, is left out.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from espeak import FRAME_RATE, RATE_HZ, Phoneme, Speaker
from visema_wav2lip.visemes import plan_mouth
from visemes import TABLE_HEAD, Scores, judge

SPEAKERS = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
VOICES = {"en": "en-us", "es": "es-419", "fr": "fr", "it": "it", "ru": "ru"}
SOUNDS = Path("/usr/share/asterisk/sounds")
TEXTS = "/usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
SHORTEST_S, LONGEST_S = 0.8, 15.0
WORST_LEFT_OUT = 20  # percent
NEAREST = {  # ARPAbet for IPA
    "p": "P",
    "b": "B",
    "β": "B",
    "m": "M",
    "f": "F",
    "v": "V",
    "ʋ": "V",
    "t": "T",
    "d": "D",
    "ð": "DH",
    "k": "K",
    "ɡ": "G",
    "g": "G",
    "ɣ": "G",
    "n": "N",
    "ɲ": "N",
    "ŋ": "NG",
    "l": "L",
    "ɫ": "L",
    "ʎ": "L",
    "ɭ": "L",
    "r": "R",
    "ɾ": "D",
    "ʁ": "R",
    "ɹ": "R",
    "s": "S",
    "z": "Z",
    "ʃ": "SH",
    "ɕ": "SH",
    "ʂ": "SH",
    "ʒ": "ZH",
    "ʐ": "ZH",
    "ʑ": "ZH",
    "θ": "TH",
    "x": "HH",
    "h": "HH",
    "j": "Y",
    "ʝ": "Y",
    "w": "W",
    "ɥ": "Y",
    "a": "AA",
    "ɐ": "AH",
    "ɑ": "AA",
    "æ": "AE",
    "ʌ": "AH",
    "ɛ": "EH",
    "e": "EY",
    "ə": "AH",
    "ɚ": "ER",
    "ɜ": "ER",
    "i": "IY",
    "ɪ": "IH",
    "ᵻ": "IH",
    "ɨ": "IH",
    "o": "OW",
    "ɔ": "AO",
    "ɒ": "AO",
    "u": "UW",
    "ʊ": "UH",
    "y": "UW",
    "ø": "ER",
    "œ": "ER",
    "ɵ": "AO",
    "tʃ": "CH",
    "tɕ": "CH",
    "dʒ": "JH",
    "aɪ": "AY",
    "aʊ": "AW",
    "eɪ": "EY",
    "oʊ": "OW",
    "ɔɪ": "OY",
}


class Aligner:
    """Finds the sounds of known texts in recordings."""

    def __init__(self, language: str, texts: Iterable[str]) -> None:
        from pocketsphinx import Decoder  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - only this benchmark needs it

        speaker = Speaker()
        spoken = {word: _sounds(speaker, word, VOICES[language]) for text in texts for word in _words(text)}
        self._sounds = {word: sounds for word, sounds in spoken.items() if sounds}
        lines = [f"{word} {' '.join(NEAREST[name] for name in names)}" for word, names in self._sounds.items()]
        with tempfile.NamedTemporaryFile("w", suffix=".dict") as dictionary:
            dictionary.write("\n".join(lines) + "\n")
            dictionary.flush()
            self._decoder: Any = Decoder(samprate=RATE_HZ, loglevel="FATAL", lm=None, dict=dictionary.name)

    def align(self, samples: npt.NDArray[np.int16], text: str) -> tuple[float, list[Phoneme]] | None:
        """Likelihood of the fit and the sounds; None if the text cannot be spoken or does not fit."""
        words = _words(text)
        if len(words) < 2 or re.search(r"\d", text) or not all(word in self._sounds for word in words):
            return None
        try:
            self._decoder.set_align_text(" ".join(words))
            self._decode(samples)
            likelihood = self._decoder.hyp().score
            self._decoder.set_alignment()
            self._decode(samples)
        except (RuntimeError, AttributeError):  # no hypothesis: the text is not what is spoken
            return None
        spoken = iter(words)
        sounds: list[Phoneme] = []
        for entry in self._decoder.get_alignment():
            if entry.name in self._sounds:  # not a pause
                names = self._sounds[next(spoken)]
                sounds += [
                    Phoneme(name, phone.start / 100, (phone.start + phone.duration) / 100, stressed=False)
                    for name, phone in zip(names, entry, strict=True)
                ]
        return float(likelihood) / len(samples), sounds

    def _decode(self, samples: npt.NDArray[np.int16]) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())


def _sounds(speaker: Speaker, word: str, voice: str) -> list[str] | None:
    """IPA of the word's sounds that have a nearest English one; None if one has not."""
    names = [
        part
        for name in speaker.pronounce(word, voice)
        for part in ([name] if name in NEAREST else name)
        if part not in "ʔ^\"'()|-\u0303\u032f\u0329"
    ]
    return names if all(name in NEAREST for name in names) else None


def prompts(language: str) -> Iterator[tuple[npt.NDArray[np.int16], str]]:
    """Recordings at 16 kHz with their texts."""
    with gzip.open(TEXTS.format(language), "rt", errors="replace") as lines:
        for line in lines:
            named = re.match(r"([\w/.-]+):\s*([^\[(<]{12,})$", line.strip())
            path = SOUNDS / SPEAKERS[language] / f"{named[1]}.g722" if named else None
            if named and path and path.exists():
                with av.open(str(path), format="g722") as container:
                    samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
                if SHORTEST_S < len(samples) / RATE_HZ < LONGEST_S:
                    yield samples.astype(np.int16), named[2]


def main() -> None:
    """Print the table."""
    print(TABLE_HEAD)
    for language in SPEAKERS:
        spoken, scores = list(prompts(language)), Scores()
        aligner = Aligner(language, (text for _, text in spoken))
        aligned = [(samples, aligner.align(samples, text)) for samples, text in spoken]
        fitting = [(samples, *fit) for samples, fit in aligned if fit]
        least = np.percentile([likelihood for _, likelihood, _ in fitting], WORST_LEFT_OUT)
        for samples, likelihood, sounds in fitting:
            if likelihood > least:
                speech = (samples / 32768).astype(np.float32)
                judge(plan_mouth(speech, FRAME_RATE, int(len(speech) / RATE_HZ * FRAME_RATE)), sounds, scores)
        print(scores.row(language), flush=True)


if __name__ == "__main__":
    main()
