"""Reference recordings in the checkpoint folder: the voices of people, for engines that speak like a recording."""

from __future__ import annotations

import shutil
import wave
from dataclasses import dataclass
from pathlib import Path

from visema_kit.checkpoints_store import file_sha256
from visema_kit.errors import AudioTooLong, AudioTooShort, CheckpointMissing, InvalidInput, MediaNotAllowed
from visema_kit.records import read_record, write_record
from visema_kit.voices_store import NAME

FOLDER_NAME = "cloned"
RECORD_NAME = "recordings.json"
SHORTEST_S, LONGEST_S = 3.0, 60.0  # less says too little about a voice, and more says nothing new
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Recording:
    """What `recordings.json` says of one recording.

    Attributes:
        license: What its speaker agreed to, as the operator stated it.
        language: BCP 47 tag of what is said.
        seconds: Its length.
        sha256: Hash of the WAV file.
    """

    license: str
    language: str
    seconds: float
    sha256: str


class RecordingFolder:
    """The registered recordings on this machine."""

    def __init__(self, checkpoint_folder: Path) -> None:
        self.path = checkpoint_folder / FOLDER_NAME

    def record(self) -> dict[str, Recording]:
        """Registered recordings by name. Raises: CheckpointMissing: the record is damaged."""
        return read_record(self.path / RECORD_NAME, Recording)

    def register(self, source: Path, name: str, language: str, license_name: str) -> Recording:
        """Take in a recording: 16-bit PCM WAV. One of that name is replaced; the file stays as it is.

        Raises: InvalidInput: no licence, no language, or a name that cannot be used. MediaNotAllowed: no such WAV file.
            AudioTooShort, AudioTooLong. CheckpointMissing: there is no such file.
        """
        if NAME.fullmatch(name) is None:
            raise InvalidInput("A name has letters, digits, dots, _ and -.", field="name")
        if not license_name.strip() or not language.strip():
            raise InvalidInput("A recording is registered with its language and what its speaker agreed to.")
        seconds = _seconds(source)
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"{name}.wav.partial"
        shutil.copyfile(source, partial)
        entry = Recording(license_name.strip(), language.strip(), round(seconds, 3), file_sha256(partial))
        partial.replace(self._wav(name))
        write_record(self.path / RECORD_NAME, self.record() | {name: entry})
        return entry

    def remove(self, name: str) -> bool:
        """Delete a recording. Returns: whether it was there."""
        record = self.record()
        if record.pop(name, None) is None:
            return False
        write_record(self.path / RECORD_NAME, record)
        self._wav(name).unlink(missing_ok=True)
        return True

    def _wav(self, name: str) -> Path:
        return self.path / f"{name}.wav"


def _seconds(source: Path) -> float:
    try:
        with wave.open(str(source)) as recording:
            seconds = float(recording.getnframes() / recording.getframerate())
            sample_bytes = recording.getsampwidth()
    except FileNotFoundError as error:
        raise CheckpointMissing(f"There is no {source.name} in {source.parent}.") from error
    except (wave.Error, EOFError, OSError) as error:
        raise MediaNotAllowed(f"{source.name} is not a PCM WAV file.", field="file") from error
    if sample_bytes != SAMPLE_BYTES:
        raise MediaNotAllowed(f"{source.name} has {8 * sample_bytes} bits a sample, not 16.", field="file")
    if seconds < SHORTEST_S:
        raise AudioTooShort(f"A recording of a voice has at least {SHORTEST_S:g} s, not {seconds:.1f}.", field="file")
    if seconds > LONGEST_S:
        raise AudioTooLong(f"A recording of a voice has at most {LONGEST_S:g} s, not {seconds:.1f}.", field="file")
    return seconds
