"""Compares what the head does with what eSpeak NG says it stresses, in the languages and texts of `visemes.py`.

`python bench/accents.py` (needs `pip install espeakng-loader`) prints one line per language:

- `vowels heard`: share of the vowels in which a syllable's nucleus is found;
- `beats on stress`: share of the head's beats whose accent lies in a vowel with primary stress, with their number;
- `by chance`: share of the vowels that are stressed.
"""

from __future__ import annotations

import numpy as np
from espeak import Phoneme, Speaker
from visema_liveportrait.motion_settings import MotionSettings
from visema_liveportrait.motion_speech import LEAD_S, SpeechGestures
from visema_liveportrait.speech_cues import read_cues
from visemes import OPENNESS, TEXTS, WORDS_PER_MINUTE

REACH_S = 0.03  # of a vowel: eSpeak NG's marks and the levels are that exact


def on_stress(times_s: list[float], vowels: list[Phoneme]) -> list[bool]:
    """Whether each time lies in a stressed vowel."""
    return [
        any(vowel.stressed and vowel.start_s - REACH_S <= time_s <= vowel.end_s + REACH_S for vowel in vowels)
        for time_s in times_s
    ]


def main() -> None:
    """Print the table."""
    speaker = Speaker()
    print("| language | vowels heard | beats on stress | by chance |")
    print("|---|---|---|---|")
    for language, text in TEXTS.items():
        heard: list[bool] = []
        stressed: list[bool] = []
        beats: list[bool] = []
        for speed in WORDS_PER_MINUTE:
            samples, sounds = speaker.say(text, language, speed)
            vowels = [sound for sound in sounds if sound.name and sound.name[0] in OPENNESS]
            cues = read_cues(samples)
            nuclei_s = np.array([nucleus.time_s for nucleus in cues.nuclei])
            for vowel in vowels:
                near = (nuclei_s >= vowel.start_s - REACH_S) & (nuclei_s <= vowel.end_s + REACH_S)
                heard.append(bool(near.any()))
                stressed.append(vowel.stressed)
            gestures = SpeechGestures.draw(cues, MotionSettings().seed, 1.0)
            accents_s = gestures.turns.middles_s + np.mean(LEAD_S)
            beats += on_stress(list(accents_s), vowels)
        print(
            f"| {language} | {np.mean(heard):.2f} of {len(heard)} | {np.mean(beats):.2f} of {len(beats)} | "
            f"{np.mean(stressed):.2f} |"
        )


if __name__ == "__main__":
    main()
