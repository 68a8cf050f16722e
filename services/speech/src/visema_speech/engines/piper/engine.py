"""The neural engine: voices of the Piper format. The only module that imports ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

import numpy as np
import numpy.typing as npt
import onnxruntime
from visema_kit.digest import sha256_of
from visema_kit.errors import CheckpointMissing, InvalidInput
from visema_kit.logs import get_logger
from visema_kit.voices_store import VoiceFolder
from visema_media.audio import Samples

from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.piper.description import VoiceDescription, spoken_phonemes
from visema_speech.engines.protocol import EngineDescription, SpokenMark, Utterance, Voice

NAME = "piper"
_INPUTS = {"input", "input_lengths", "scales"}
_SPEAKER_INPUT = "sid"
_THREADS = 2  # far faster than real time; more than a container has processors would only wait for each other
_AUDIBLE = 0.004  # of full scale, -48 dB
_LOUDEST_PART = 0.95  # of full scale, for networks whose sound would be clipped

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Network:
    """A voice file that is loaded.

    Attributes:
        session: Runs it.
        description: What its JSON says.
        model: The eSpeak NG voice that reads the text to it.
        takes_speaker: It wants to know who speaks.
    """

    session: onnxruntime.InferenceSession
    description: VoiceDescription
    model: Voice
    takes_speaker: bool


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Attributes: network: who holds the voice; number: which of its speakers."""

    network: _Network
    number: int


class PiperEngine:
    """Speaks with the imported voices. All of them are loaded and checked before the service is ready."""

    def __init__(self, folder: VoiceFolder, reader: EspeakEngine) -> None:
        """Load nothing yet. Args: reader: turns text into phonemes and says how long words take."""
        self._folder = folder
        self._reader = reader
        self._speakers: dict[str, _Speaker] = {}
        self._voices: tuple[Voice, ...] = ()

    def describe(self) -> EngineDescription:
        """See SpeechEngine."""
        version = f"{metadata.version('visema-speech')}+onnxruntime{onnxruntime.__version__}"
        return EngineDescription(NAME, version, "cpu", ("word-timings-estimated", "speaking-rate"))

    def load(self) -> None:
        """See SpeechEngine. One voice that is not what was imported stops all: what is listed can speak."""
        self._reader.load()
        voices = []
        for name in sorted(self._folder.record()):
            voices += self._load_voice(name)
        self._voices = tuple(sorted(voices, key=lambda voice: voice.voice_id))
        log.info("piper_loaded", voices=len(self._voices))

    def voices(self) -> tuple[Voice, ...]:
        """See SpeechEngine."""
        return self._voices

    def speak(self, voice: Voice, text: str, speaking_rate: float) -> Utterance:
        """See SpeechEngine. Word times are estimated: eSpeak NG's own, stretched over the sound."""
        speaker = self._speakers[voice.voice_id]
        description = speaker.network.description
        timed = self._reader.speak(speaker.network.model, text, speaking_rate)
        phonemes = spoken_phonemes(self._reader.phonemes(speaker.network.model, text), text)
        ids = description.network_input(phonemes)
        inputs: dict[str, npt.NDArray[np.int64] | Samples] = {
            "input": ids,
            "input_lengths": np.array([ids.shape[1]], np.int64),
            "scales": np.array(
                [
                    description.inference.noise_scale,
                    description.inference.length_scale / speaking_rate,
                    description.inference.noise_w,
                ],
                np.float32,
            ),
        }
        if speaker.network.takes_speaker:
            inputs[_SPEAKER_INPUT] = np.array([speaker.number], np.int64)
        samples = _sound(speaker.network.session, inputs, voice)
        return Utterance(samples, description.audio.sample_rate, _stretched_marks(timed, samples, description))

    def close(self) -> None:
        """See SpeechEngine."""
        self._speakers.clear()
        self._reader.close()

    def _load_voice(self, name: str) -> list[Voice]:
        files = self._folder.read(name)
        description = VoiceDescription.parse(name, files.description)
        model = self._reader.voice_named(description.espeak.voice)
        if model is None:
            raise CheckpointMissing(f"{name} was trained with eSpeak NG's voice {description.espeak.voice}: unknown.")
        session = _session(name, files.network)
        takes_speaker = any(given.name == _SPEAKER_INPUT for given in session.get_inputs())
        network = _Network(session, description, model, takes_speaker)
        numbers = description.speaker_id_map or {str(number): number for number in range(description.num_speakers)}
        several = description.num_speakers > 1
        voices = []
        for speaker, number in numbers.items():
            variant = f"+{speaker}" if several else ""
            voice = Voice(
                voice_id=f"{NAME}/{name}{variant}",
                display_name=f"{name}, {speaker}" if several else name,
                languages=(description.language_tag,),
                engine=NAME,
                license=files.entry.license,
                scripts=model.scripts,
                variant=variant,
                weights_sha256=sha256_of(f"{files.entry.network_sha256}{files.entry.description_sha256}".encode()),
            )
            self._speakers[voice.voice_id] = _Speaker(network, number)
            voices.append(voice)
        return voices


def _session(name: str, network: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    options.log_severity_level = 3  # errors; what it warns about is the exporter's business
    try:
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class below this one
        raise CheckpointMissing(f"{name}.onnx cannot be loaded: {error}", metadata={"voice": name}) from error
    inputs = {given.name for given in session.get_inputs()}
    if inputs - {_SPEAKER_INPUT} != _INPUTS:
        raise CheckpointMissing(
            f"{name}.onnx is no Piper voice: it reads {', '.join(sorted(inputs))}.", metadata={"voice": name}
        )
    return session


def _sound(
    session: onnxruntime.InferenceSession, inputs: dict[str, npt.NDArray[np.int64] | Samples], voice: Voice
) -> Samples:
    """What the network says: float32 (1, n), in full scale. Raises: InvalidInput: it cannot say this."""
    try:
        sound = np.asarray(session.run(None, inputs)[0], np.float32).reshape(1, -1)  # (1, 1, 1, n) -> (1, n)
    except Exception as error:  # its errors have no common class below this one
        raise InvalidInput(
            f"The voice {voice.voice_id} cannot speak a part of this text: {error}",
            field="text",
            metadata={"voice_id": voice.voice_id},
        ) from error
    if not np.isfinite(sound).all():
        raise InvalidInput(f"The voice {voice.voice_id} makes no sound of a part of this text.", field="text")
    loudest = float(np.abs(sound).max(initial=0.0))
    return sound * np.float32(_LOUDEST_PART / loudest) if loudest > _LOUDEST_PART else sound


def _stretched_marks(timed: Utterance, samples: Samples, description: VoiceDescription) -> tuple[SpokenMark, ...]:
    """The marks of another reading of the same text, moved to where this one sounds."""
    theirs, ours = _sounding(timed.samples, timed.rate_hz), _sounding(samples, description.audio.sample_rate)
    stretch = (ours[1] - ours[0]) / max(theirs[1] - theirs[0], 1e-3)
    return tuple(
        SpokenMark(mark.position, min(max(ours[0] + (mark.start_s - theirs[0]) * stretch, 0.0), ours[1]))
        for mark in timed.marks
    )


def _sounding(samples: Samples, rate_hz: int) -> tuple[float, float]:
    """First and last audible time in seconds; the whole length where nothing is heard."""
    loud = np.flatnonzero(np.abs(samples[0]) > _AUDIBLE)
    if not loud.size:
        return 0.0, samples.shape[1] / rate_hz
    return float(loud[0]) / rate_hz, float(loud[-1] + 1) / rate_hz
