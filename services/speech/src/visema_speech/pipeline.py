"""A script in, a WAV object with word timings out. Knows the object store, no RPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from visema.speech.v1 import speech_pb2
from visema_kit.clock import StageClock, duration_of
from visema_kit.errors import AudioTooLong, InvalidInput
from visema_kit.executor import DeviceThread
from visema_kit.metrics import Metrics
from visema_media.audio import CANONICAL_RATE_HZ, Samples, resample, write_wav

from visema_speech.cache import SpeechCache
from visema_speech.engines.protocol import SpeechEngine, Utterance
from visema_speech.script import ScriptedSentence, SpeechScript
from visema_speech.words import TimedWord, timed_words

_LEAD_S = 0.1  # the mouth is shut before the first sound
_TAIL_S = 0.25  # and closes after the last
_CACHE = "speech"


@dataclass(frozen=True, slots=True)
class SentencesDone:
    """Attributes: done: sentences that are spoken; total: all of them."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class _Spoken:
    """Attributes: samples: float32 (1, n) at 48 kHz; words: from the start of these samples."""

    samples: Samples
    words: list[TimedWord]


class SpeechPipeline:
    """Speaks scripts. One object serves all calls."""

    def __init__(self, cache: SpeechCache, device: DeviceThread, metrics: Metrics, max_audio_s: float) -> None:
        """Args: device: the one thread that talks to engines; max_audio_s: longest speech."""
        self._cache = cache
        self._device = device
        self._metrics = metrics
        self._max_audio_s = max_audio_s

    async def speak(
        self, tenant: str, script: SpeechScript, engine: SpeechEngine, clock: StageClock
    ) -> AsyncGenerator[SentencesDone | speech_pb2.SynthesizeResult, None]:
        """SentencesDone after each sentence, then the result. What was spoken before comes at once.

        Leaving the generator early, also by cancellation, stops the work after the sentence in hand.

        Raises: InvalidInput: a part cannot be spoken, or nothing is heard. AudioTooLong: the speech is longer than
            allowed. What the store raises.
        """
        total = len(script.sentences)
        digest = script.digest(engine.describe())
        found = await self._cache.find(tenant, digest, clock)
        self._metrics.cache_requests.labels(_CACHE, "hit" if found else "miss").inc()
        if found is not None:
            yield SentencesDone(total, total)
            clock.segment_delivered(0, reused=True)
            yield found
            return
        spoken = [_silence(_LEAD_S)]
        sample_count = spoken[0].samples.shape[1]
        for index, sentence in enumerate(script.sentences):
            spoken.append(await clock.compute_on(self._device, _speak_sentence, engine, sentence, script.speaking_rate))
            sample_count += spoken[-1].samples.shape[1]
            self._check_length(sample_count)
            yield SentencesDone(index + 1, total)
        spoken.append(_silence(_TAIL_S))
        wav, words = await clock.compute_on(self._device, _joined, spoken)
        if not words:
            raise InvalidInput("There is nothing in the text that can be spoken.", field="text")
        audio = await self._cache.put_audio(tenant, digest, wav, clock)
        sample_count += spoken[-1].samples.shape[1]
        result = speech_pb2.SynthesizeResult(
            audio=audio,
            audio_duration=duration_of(float(Fraction(sample_count, CANONICAL_RATE_HZ))),
            words=[
                speech_pb2.SpokenWord(
                    word=word.word, start_ms=round(word.start_s * 1e3), end_ms=round(word.end_s * 1e3)
                )
                for word in words
            ],
        )
        await self._cache.put_result(tenant, digest, result, clock)
        clock.segment_delivered(0)
        yield result

    def _check_length(self, sample_count: int) -> None:
        if sample_count > self._max_audio_s * CANONICAL_RATE_HZ:
            raise AudioTooLong(
                f"The text takes longer than {self._max_audio_s:g} s to speak.",
                field="text",
                metadata={"limit_s": f"{self._max_audio_s:g}"},
            )


def _silence(seconds: float) -> _Spoken:
    return _Spoken(np.zeros((1, round(seconds * CANONICAL_RATE_HZ)), np.float32), [])


def _speak_sentence(engine: SpeechEngine, sentence: ScriptedSentence, speaking_rate: float) -> _Spoken:
    parts = []
    for piece in sentence.pieces:
        utterance = engine.speak(piece.voice, piece.text, speaking_rate)
        samples = resample(utterance.samples, utterance.rate_hz, CANONICAL_RATE_HZ)
        canonical = Utterance(samples, CANONICAL_RATE_HZ, utterance.marks)
        parts.append(_Spoken(samples, timed_words(piece.text, canonical)))
    return _concatenated([*parts, _silence(sentence.pause_s)])


def _joined(parts: list[_Spoken]) -> tuple[bytes, list[TimedWord]]:
    whole = _concatenated(parts)
    return write_wav(whole.samples, CANONICAL_RATE_HZ), whole.words


def _concatenated(parts: list[_Spoken]) -> _Spoken:
    words: list[TimedWord] = []
    sample_count = 0
    for part in parts:
        words += [word.later(sample_count / CANONICAL_RATE_HZ) for word in part.words]
        sample_count += part.samples.shape[1]
    return _Spoken(np.concatenate([part.samples for part in parts], axis=1), words)
