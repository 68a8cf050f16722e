"""Compares mouth plans with what eSpeak NG says it speaks: phonemes with exact times, in eight languages.

`python bench/visemes.py` (needs `pip install espeakng-loader`) prints one line per language:

- `p b m shut`: share of these sounds during which some frame is shut (below 0.08 of full opening);
- `pressed on p b m`: share of the plan's own lip closures that lie on one of these sounds (the rest: `t k d n`);
- `f v` and `s`: share of these with the lower lip at the teeth (`s` should have none of it);
- `touched on f v`: share of the plan's touches of lip and teeth that lie on one of these sounds;
- `open r`: correlation of the opening with the openness of the vowel spoken;
- `round o-u / i-e`: mean rounding in rounded and in spread vowels;
- `rounding right`: share of rounded vowels above `ROUND_FROM` and of spread ones below it, the mean of the two;
- `lag`: frames by which the opening lags behind the vowels' openness (negative: the mouth leads).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from espeak import FRAME_RATE, RATE_HZ, Phoneme, Speaker
from visema_wav2lip.mouthplan import MouthPlan
from visema_wav2lip.visemes import plan_mouth

WORDS_PER_MINUTE = (140, 175)
SHUT = 0.08
PRESSED = 0.5
TOUCHING = 0.4
ROUND_FROM = 0.12
NEAR_S = 0.03  # a frame's distance that still counts
LAGS = range(-4, 5)

TEXTS = {
    "en": "Bob may put a big map on the table. My mother bought five vivid photos for Sam. We hope you are fine, Papa.",
    "ru": "Мама мыла раму. Папа купил большой помидор. Вова видел фильм про войну. Бабушка поёт и любит молоко.",
    "de": "Mama und Papa bauen ein Boot. Fünf wilde Vögel fliegen vorbei. Der Bäcker backt immer gutes Brot.",
    "fr": "Papa a pu voir un beau bateau. Ma mère aime beaucoup la musique. Vous avez fait une bonne photo.",
    "es": "Mi mamá compra pan bueno. Pablo bebe vino famoso y habla mucho. El mapa muestra un pueblo bonito.",
    "it": "La mamma prepara la pappa. Un bambino vede molti fiori belli. Povero lupo, vuole dormire ma fa freddo.",
    "tr": "Babam büyük bir balık buldu. Mavi vapur limana vardı. Çocuk bana iyi bir fotoğraf verdi.",
    "pl": "Mama kupiła piękny bukiet. Babcia pamięta bardzo wiele bajek. Wojna i pokój to dobra książka.",
}
TABLE_HEAD = """\
| language | p b m shut | pressed on p b m | f v at teeth | touched on f v | s at teeth | open r | round o-u / i-e \
| rounding right | lag |
|---|---|---|---|---|---|---|---|---|---|"""
LABIAL, LIP_TEETH, HISS = set("pbm"), set("fv"), set("szʃʒ")
OPENNESS = {"a": 1, "ɐ": 0.9, "ɑ": 1, "ɒ": 0.8, "æ": 1, "ʌ": 0.8, "ɔ": 0.6, "ɛ": 0.6, "œ": 0.5, "e": 0.4, "ø": 0.35}
OPENNESS |= {"o": 0.4, "ə": 0.4, "ɪ": 0.25, "ʊ": 0.25, "i": 0.15, "y": 0.1, "u": 0.1, "ɨ": 0.2, "ɯ": 0.2}
ROUNDED, SPREAD = set("ouɔʊyøœ"), set("ieɛɪ")


@dataclass
class Scores:
    """What one language's clips gave, one entry per sound."""

    shut: list[bool] = field(default_factory=list)
    pressed_right: list[bool] = field(default_factory=list)
    lip_teeth: list[bool] = field(default_factory=list)
    lip_teeth_right: list[bool] = field(default_factory=list)
    hiss_lip_teeth: list[bool] = field(default_factory=list)
    opening: list[tuple[float, float]] = field(default_factory=list)
    rounded: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)

    def row(self, language: str) -> str:
        """A line of the table."""
        open_r = np.corrcoef(np.array(self.opening).T)[0, 1]
        rounded, spread = np.array(self.rounded), np.array(self.spread)
        right = ((rounded > ROUND_FROM).mean() + (spread <= ROUND_FROM).mean()) / 2
        return (
            f"| {language} | {_share(self.shut)} | {_share(self.pressed_right)} | {_share(self.lip_teeth)} | "
            f"{_share(self.lip_teeth_right)} | {_share(self.hiss_lip_teeth)} | {open_r:.2f} | "
            f"{rounded.mean():.2f} / {spread.mean():.2f} | {right:.2f} | {np.mean(self.lags):+.1f} |"
        )


def _share(right: list[bool]) -> str:
    return f"{np.mean(right):.2f} of {len(right)}" if right else "none"


def judge(plan: MouthPlan, sounds: list[Phoneme], scores: Scores) -> None:
    """Add one clip."""
    spoken_s = [sound.start_s for sound in sounds if sound.name and sound.name[0] in OPENNESS]
    if not spoken_s:
        return
    target = np.zeros(len(plan))
    for sound in sounds:
        frames = sound.frames(len(plan))
        if frames.stop <= frames.start or not sound.name:
            continue
        if sound.name in LABIAL:
            scores.shut.append(bool(plan.opening[frames].min() < SHUT))
        elif sound.name in LIP_TEETH:
            scores.lip_teeth.append(bool(plan.lip_teeth[frames].max() > TOUCHING))
        elif sound.name in HISS:
            scores.hiss_lip_teeth.append(bool(plan.lip_teeth[frames].max() > TOUCHING))
        vowel = sound.name[0]
        if vowel in OPENNESS:
            target[frames] = OPENNESS[vowel]
            scores.opening.append((float(plan.opening[frames].max()), OPENNESS[vowel]))
            middle = min((frames.start + frames.stop) // 2, len(plan) - 1)
            if vowel in ROUNDED:
                scores.rounded.append(float(plan.rounding[middle]))
            elif vowel in SPREAD:
                scores.spread.append(float(plan.rounding[middle]))
    speech = (spoken_s[0], spoken_s[-1])  # not the rest before and after it
    scores.pressed_right += _on_sounds(plan.press > PRESSED, LABIAL, sounds, speech)
    scores.lip_teeth_right += _on_sounds(plan.lip_teeth > TOUCHING, LIP_TEETH, sounds, speech)
    inner = slice(max(LAGS), len(plan) - max(LAGS))
    fits = {lag: np.corrcoef(np.roll(plan.opening, -lag)[inner], target[inner])[0, 1] for lag in LAGS}
    scores.lags.append(max(fits, key=lambda lag: fits[lag]))


def _on_sounds(
    shown: npt.NDArray[np.bool_], names: set[str], sounds: list[Phoneme], speech: tuple[float, float]
) -> list[bool]:
    """Whether each stretch of frames that shows something lies on a sound of these names."""
    meant = [(sound.start_s, sound.end_s) for sound in sounds if sound.name in names]
    edges = np.flatnonzero(np.diff(shown, prepend=False, append=False)) / float(FRAME_RATE)
    return [
        any(start < end_s + NEAR_S and end > start_s - NEAR_S for start_s, end_s in meant)
        for start, end in edges.reshape(-1, 2)
        if speech[0] <= start <= speech[1]
    ]


def main() -> None:
    """Print the table."""
    speaker = Speaker()
    print(TABLE_HEAD)
    for language, text in TEXTS.items():
        scores = Scores()
        for speed in WORDS_PER_MINUTE:
            samples, sounds = speaker.say(text, language, speed)
            judge(plan_mouth(samples, FRAME_RATE, int(len(samples) / RATE_HZ * FRAME_RATE)), sounds, scores)
        print(scores.row(language))


if __name__ == "__main__":
    main()
