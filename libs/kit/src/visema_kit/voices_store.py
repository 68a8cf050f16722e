"""Neural voices in the checkpoint folder: imported from files, with their hashes and the licence that was stated.

A voice of the Piper format is a network `NAME.onnx` and its description `NAME.onnx.json`. Nobody pins these: there are
thousands, and people train their own. So the import records what came in, under which licence, and a service loads
nothing else.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from visema_kit.checkpoints_store import file_sha256
from visema_kit.digest import sha256_of
from visema_kit.errors import CheckpointMissing, InvalidInput
from visema_kit.records import read_record, write_record

FOLDER_NAME = "piper"
RECORD_NAME = "voices.json"
NETWORK_SUFFIX = ".onnx"
DESCRIPTION_SUFFIX = ".onnx.json"
HOW_TO_GET = "Import it with: visema models voices import FILE.onnx --license LICENCE."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class ImportedVoice:
    """What `voices.json` says of one voice.

    Attributes:
        license: As the operator stated it, SPDX where there is one.
        network_sha256: Hash of the network's file.
        description_sha256: Hash of the file that describes it.
    """

    license: str
    network_sha256: str
    description_sha256: str


@dataclass(frozen=True, slots=True)
class VoiceFiles:
    """What a voice consists of, checked. Attributes: network: ONNX; description: JSON."""

    network: bytes
    description: bytes
    entry: ImportedVoice


class VoiceFolder:
    """The neural voices on this machine."""

    def __init__(self, checkpoint_folder: Path) -> None:
        self.path = checkpoint_folder / FOLDER_NAME

    def record(self) -> dict[str, ImportedVoice]:
        """Imported voices by name. Raises: CheckpointMissing: the record is damaged."""
        return read_record(self.path / RECORD_NAME, ImportedVoice)

    def import_voice(self, network: Path, license_name: str, *, expected_sha256: str = "") -> str:
        """Take in `NAME.onnx` and the `NAME.onnx.json` beside it; the files stay as they are.

        Args:
            license_name: What the voice may be used under: it is listed with the voice.
            expected_sha256: Hash of the network as its publisher names it; empty where none does.

        Returns: The voice's name. A voice of that name is replaced.

        Raises: InvalidInput: no licence, or a name that cannot be used. CheckpointMissing: a file is missing, or the
            network has another hash.
        """
        name = network.name.removesuffix(NETWORK_SUFFIX)
        if not network.name.endswith(NETWORK_SUFFIX) or NAME.fullmatch(name) is None:
            raise InvalidInput(
                f"{network.name} is no name of a voice: letters, digits, dots, _ and - before {NETWORK_SUFFIX}.",
                field="file",
            )
        if not license_name.strip():
            raise InvalidInput("A voice is imported with the licence that it may be used under.", field="license")
        self.path.mkdir(parents=True, exist_ok=True)
        hashes = []
        for suffix, expected in ((NETWORK_SUFFIX, expected_sha256.lower()), (DESCRIPTION_SUFFIX, "")):
            hashes.append(_copied(network.with_name(name + suffix), self.path / f"{name}{suffix}.partial", expected))
        for suffix in (NETWORK_SUFFIX, DESCRIPTION_SUFFIX):
            (self.path / f"{name}{suffix}.partial").replace(self.path / (name + suffix))
        write_record(
            self.path / RECORD_NAME, self.record() | {name: ImportedVoice(license_name.strip(), hashes[0], hashes[1])}
        )
        return name

    def read(self, name: str) -> VoiceFiles:
        """The files of a voice: the bytes that were hashed are the bytes that are loaded.

        Raises: CheckpointMissing: not imported, gone, or changed since.
        """
        entry = self.record().get(name)
        if entry is None:
            raise CheckpointMissing(f"The voice {name} is not in the checkpoint folder. {HOW_TO_GET}")
        network = self._checked(name, NETWORK_SUFFIX, entry.network_sha256)
        return VoiceFiles(network, self._checked(name, DESCRIPTION_SUFFIX, entry.description_sha256), entry)

    def remove(self, name: str) -> bool:
        """Delete a voice. Returns: whether it was there."""
        record = self.record()
        if record.pop(name, None) is None:
            return False
        write_record(self.path / RECORD_NAME, record)
        for suffix in (NETWORK_SUFFIX, DESCRIPTION_SUFFIX):
            (self.path / (name + suffix)).unlink(missing_ok=True)
        return True

    def _checked(self, name: str, suffix: str, sha256: str) -> bytes:
        try:
            content = (self.path / (name + suffix)).read_bytes()
        except OSError as error:
            raise CheckpointMissing(
                f"{name}{suffix} is not in the checkpoint folder. {HOW_TO_GET}", metadata={"file": name + suffix}
            ) from error
        if sha256_of(content) != sha256:
            raise CheckpointMissing(
                f"{name}{suffix} was changed after it was imported. {HOW_TO_GET}", metadata={"file": name + suffix}
            )
        return content


def _copied(source: Path, target: Path, expected_sha256: str) -> str:
    """Copy a file. Returns: its hash. Raises: CheckpointMissing: there is none, or it has another hash."""
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise CheckpointMissing(f"There is no {source.name} in {source.parent}.") from error
    actual = file_sha256(target)
    if expected_sha256 and actual != expected_sha256:
        target.unlink()
        raise CheckpointMissing(
            f"{source.name} has the sha256 {actual}, not {expected_sha256}: it is damaged or another file.",
            metadata={"file": source.name, "sha256": actual},
        )
    return actual
