"""eSpeak NG as a process: `python -m visema_speech.engines.espeak.worker LIBRARY DATA`.

The library is C code that some texts bring down (a Braille character in some voices overflows a buffer and aborts), so
it does not live in the service's process. Requests are lines of JSON on stdin; each reply on stdout is a line of JSON
and the sound behind it. The process ends when stdin does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import IO

from visema_speech.engines.espeak.binding import Espeak

_PROBE = "1 a"  # every language has a word for these
_NORMAL_WPM = 175


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's business, which closes stdin
    replies = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # whatever the library prints must not get between the replies
    os.dup2(silence, 2)
    espeak = Espeak(Path(sys.argv[1]), Path(sys.argv[2]))
    _reply(replies, {"version": espeak.version, "rate_hz": espeak.rate_hz})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["ask"] == "voices":
            _reply(replies, {"voices": _usable_voices(espeak)})
        elif request["ask"] == "phonemes":
            _reply(replies, {"clauses": espeak.phonemes(request["voice"], request["text"])})
        else:
            sound = espeak.speak(request["voice"], request["text"], request["words_per_minute"])
            _reply(replies, {"words": sound.words, "bytes": len(sound.pcm)}, sound.pcm)


def _usable_voices(espeak: Espeak) -> list[tuple[str, str, tuple[str, ...]]]:
    """Voices that make a sound: some come without the dictionary of their language."""
    return [
        (voice.identifier, voice.name, voice.languages)
        for voice in espeak.voices()
        if espeak.speak(voice.identifier, _PROBE, _NORMAL_WPM).words
    ]


def _reply(replies: IO[bytes], header: dict[str, object], sound: bytes = b"") -> None:
    replies.write(json.dumps(header).encode() + b"\n" + sound)
    replies.flush()


if __name__ == "__main__":
    main()
