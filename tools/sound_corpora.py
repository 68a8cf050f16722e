"""Speech with known sounds, for `sound_training.py`: made by synthesisers, and one recorded corpus.

    PYTHONPATH=bench python tools/sound_corpora.py FOLDER

writes FOLDER/<corpus>.npz (`samples` int16 at 16 kHz, `lengths` of the clips, `spans` float32 (n, 3) of start, end and
kind, `span_counts`). On Debian it needs `pip install espeakng-loader` and
`apt-get install festival flite festvox-{ru,kallpc16k,kdlpc16k,us-slt-hts,italp16k,itapc16k,ca-ona-hts} festival-czech
festvox-{czech-dita,czech-machac,suopuhe-lj,suopuhe-mv}`.

- espeak: 20 languages that `bench/visemes.py` does not speak, 33 voices, made-up words;
- festival: ten voices cut from recorded people, five languages; flite: four voices modelled on people;
- russian: the recordings that the voice `festvox-ru` is cut from, 100 minutes of one speaker, with phone labels.

The sounds of people that `bench/recordings.py` judges by are in none of them.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
from espeak import RATE_HZ, Speaker
from phones import ENGLISH, Span, kinds_of, spans
from visema_wav2lip.sounds import Sound

Clip = tuple[npt.NDArray[np.int16], list[Span]]

_RUSSIAN_VOICE = Path("/usr/share/festival/voices/russian/msu_ru_nsh_clunits")
_ONSETS = [
    *"ppbbmmffvvtdnksglrzhw",
    *["pr", "br", "pl", "bl", "fl", "fr", "tr", "dr", "st", "sp", "sm", "sk", "kl", "gr", "sh", "ch"],
]
_CODAS = ["", "", "", "", *"nmptslrkfbv"]
_CYRILLIC = str.maketrans("abvgdezijklmnoprstufhcyw", "абвгдезийклмнопрстуфхцыв")
_GREEK = str.maketrans("abvgdezijklmnoprstufhcyw", "αμβγδεζιικλμνοπρστουφχξι"[:24])
_ESPEAK_LATIN = ["pt", "nl", "sv", "cs", "hu", "fi", "ro", "ca", "da", "id", "lv", "hr", "nb", "et", "sk", "sq", "sw"]
_ESPEAK_OTHER = {"uk": _CYRILLIC, "bg": _CYRILLIC, "el": _GREEK}
_ESPEAK_VOICES = [
    *(f"f{n}" for n in range(1, 6)),
    *(f"m{n}" for n in range(1, 9)),
    *["Alicia", "Andrea", "Annie", "belinda", "linda", "steph", "Denis", "Diogo", "Marco", "Michael", "adam", "david"],
    *["john", "paul", "klatt2", "klatt3", "klatt4", "whisper", "croak"],
]
_ESPEAK_PITCH, _ESPEAK_RANGE = 3, 4  # parameters of its interface
_ESPEAK_CLIPS, _FESTIVAL_CLIPS, _FLITE_CLIPS = 1800, 90, 110  # the last two of each voice
_FESTIVAL_VOICES = {
    **dict.fromkeys(("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"), "en"),
    **dict.fromkeys(("lp_diphone", "pc_diphone"), "it"),
    **dict.fromkeys(("czech_dita", "czech_machac"), "cs"),
    **dict.fromkeys(("suo_fi_lj_diphone", "hy_fi_mv_diphone"), "fi"),
    "upc_ca_ona_hts": "ca",
}
_FLITE_VOICES = ("slt", "rms", "awb", "kal16")
_PAUSES = {"#", "_", "pau", "h#", "H#", "sil", "SIL", "brth"}
_FESTIVAL_PHONES = {  # to IPA, where the name is not its own
    "cs": {"c": "ts", "c~": "tʃ", "s~": "ʃ", "z~": "ʒ", "r~": "ʒ", "ch": "x", "t~": "t", "d~": "d", "n~": "n"},
    "": {"tS": "tʃ", "dZ": "dʒ", "S": "ʃ", "Z": "ʒ", "ch": "tʃ", "E": "ɛ", "O": "ɔ", "ae": "æ", "oe": "ø", "ax": "ə"},
}
_RUSSIAN_PHONES = {
    "ay": "ə",
    "ae": "ə",
    "y": "ɨ",
    "j": "j",
    "ur": "u",
    "c": "ts",
    "ch": "tʃ",
    "sh": "ʃ",
    "sch": "ʃ",
    "zh": "ʒ",
    "pau": "",
    "#": "",
}


def made_up_text(rng: random.Random) -> str:
    """Words nobody knows, rich in sounds of the lips."""
    words = [
        "".join(rng.choice(_ONSETS) + rng.choice("aaeeiioou") for _ in range(rng.choice((1, 2, 2, 3, 3))))
        + rng.choice(_CODAS)
        for _ in range(rng.randint(5, 11))
    ]
    return " ".join(words) + "."


def espeak_clips(rng: random.Random) -> Iterator[Clip]:
    """Speech of eSpeak NG, which knows its phonemes' times."""
    speaker = Speaker()
    for _ in range(_ESPEAK_CLIPS):
        language = rng.choice([*_ESPEAK_LATIN, *_ESPEAK_OTHER])
        speaker.set_parameter(_ESPEAK_PITCH, rng.randint(25, 75))
        speaker.set_parameter(_ESPEAK_RANGE, rng.randint(20, 90))
        text = made_up_text(rng).translate(_ESPEAK_OTHER.get(language, {}))
        samples, sounds = speaker.say(text, f"{language}+{rng.choice(_ESPEAK_VOICES)}", rng.randint(120, 230))
        marks = [(sound.start_s, sound.end_s, kinds_of(sound.name.strip("_:"))) for sound in sounds]
        if marks:
            yield _full_scale(samples), spans(marks)


def festival_clips(rng: random.Random, folder: Path) -> Iterator[Clip]:
    """Festival, one process a voice; a voice's phones end where its label file says."""
    for voice, language in _FESTIVAL_VOICES.items():
        script = [f"(voice_{voice})"]
        for i in range(_FESTIVAL_CLIPS):
            script += [
                f'(set! u (utt.synth (Utterance Text "{made_up_text(rng)}")))',
                f'(utt.save.wave u "{folder}/{voice}{i}.wav" (quote riff))',
                f'(utt.save.segs u "{folder}/{voice}{i}.lab")',
            ]
        (folder / "script.scm").write_text("\n".join(script))
        subprocess.run(["festival", "-b", str(folder / "script.scm")], check=True)
        for i in range(_FESTIVAL_CLIPS):
            labels = _labels(folder / f"{voice}{i}.lab")
            yield _read(folder / f"{voice}{i}.wav"), spans(_marks(labels, _festival_kinds, language))


def _festival_kinds(name: str, language: str) -> list[int]:
    if name in _PAUSES:
        return [Sound.SILENCE]
    if language == "en":
        return kinds_of(ENGLISH.get(name, name))
    plain = name.rstrip("0123456789:!")
    return kinds_of(_FESTIVAL_PHONES.get(language, {}).get(plain) or _FESTIVAL_PHONES[""].get(plain, plain))


def flite_clips(rng: random.Random, folder: Path) -> Iterator[Clip]:
    """Flite, which prints its phones with their ends."""
    for voice in _FLITE_VOICES:
        for _ in range(_FLITE_CLIPS):
            pace = f"duration_stretch={rng.uniform(0.8, 1.3):.2f}"
            command = ["flite", "-voice", voice, "-psdur", "-s", pace, "-o", str(folder / "flite.wav")]
            printed = subprocess.run(
                [*command, "-t", made_up_text(rng)], check=True, capture_output=True, text=True
            ).stdout
            labels = [(float(end), name) for name, end in re.findall(r"([a-z]+):([\d.]+)", printed)]
            yield _read(folder / "flite.wav"), spans(_marks(labels, _festival_kinds, "en"))


def russian_clips() -> Iterator[Clip]:
    """The recorded sentences of `festvox-ru`; doubled letters are stressed vowels and soft consonants."""

    def kinds(name: str, _: str) -> list[int]:
        plain = name[0] if len(name) == 2 and name[0] == name[1] else name
        return kinds_of(_RUSSIAN_PHONES.get(plain, plain))

    for path in sorted((_RUSSIAN_VOICE / "lab").glob("*.lab")):
        samples = _read(_RUSSIAN_VOICE / "wav" / f"{path.stem}.wav")
        yield samples, spans(_marks(_labels(path), kinds, "ru"))


def _labels(path: Path) -> list[tuple[float, str]]:
    """End and name of each phone in a label file."""
    lines = path.read_text("latin-1").split("#\n", 1)[1].splitlines()
    return [(float(end), name) for end, _, name in (line.split()[:3] for line in lines)]


def _marks(labels: list[tuple[float, str]], kinds: Any, language: str) -> list[tuple[float, float, list[int]]]:
    ends = [(0.0, ""), *labels]
    return [(start, end, kinds(name, language)) for (start, _), (end, name) in pairwise(ends)]


def _read(path: Path) -> npt.NDArray[np.int16]:
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return _full_scale(soxr.resample(samples.astype(np.float32), rate_hz, RATE_HZ))


def _full_scale(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    return (samples * (29_000 / max(float(np.abs(samples).max(initial=0)), 1e-3))).astype(np.int16)


def save(path: Path, clips: Iterable[Clip]) -> None:
    """Write one corpus."""
    kept = list(clips)
    rows = [(span.start_s, span.end_s, span.kind) for _, clip in kept for span in clip]
    np.savez(
        path,
        samples=np.concatenate([samples for samples, _ in kept]),
        lengths=[len(samples) for samples, _ in kept],
        spans=np.array(rows, np.float32),
        span_counts=[len(clip) for _, clip in kept],
    )
    print(f"{path.name}: {len(kept)} clips, {sum(len(s) for s, _ in kept) / RATE_HZ / 60:.0f} min", flush=True)


def main() -> None:
    """Write all corpora."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)  # noqa: S311 - repeatable, not secret
    with tempfile.TemporaryDirectory() as scratch:
        save(folder / "russian.npz", russian_clips())
        save(folder / "flite.npz", flite_clips(rng, Path(scratch)))
        save(folder / "festival.npz", festival_clips(rng, Path(scratch)))
    save(folder / "espeak.npz", espeak_clips(rng))


if __name__ == "__main__":
    main()
