"""Recordings of voices are registered with what their speakers agreed to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_voice import write_recording
from visema_kit.checkpoints_store import file_sha256
from visema_kit.errors import AudioTooLong, AudioTooShort, CheckpointMissing, InvalidInput, MediaNotAllowed
from visema_kit.recordings_store import RECORD_NAME, Recording, RecordingFolder


@pytest.fixture
def folder(tmp_path: Path) -> RecordingFolder:
    return RecordingFolder(tmp_path / "checkpoints")


def test_a_recording_is_kept_with_its_hash_language_and_licence(folder: RecordingFolder, tmp_path: Path) -> None:
    source = write_recording(tmp_path / "anna.wav", 3)
    entry = folder.register(source, "anna", "pt-BR", " agreed ")
    assert entry == Recording("agreed", "pt-BR", 3.0, file_sha256(source))
    assert folder.record() == {"anna": entry}
    assert (folder.path / "anna.wav").read_bytes() == source.read_bytes()
    assert folder.remove("anna")
    assert not folder.remove("anna")
    assert [path.name for path in folder.path.iterdir()] == [RECORD_NAME]


def test_what_is_no_recording_of_a_voice_is_refused(folder: RecordingFolder, tmp_path: Path) -> None:
    good = write_recording(tmp_path / "good.wav", 4)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"RIFF????")
    for source, error in (
        (write_recording(tmp_path / "short.wav", 2.9), AudioTooShort),
        (write_recording(tmp_path / "long.wav", 60.1), AudioTooLong),
        (write_recording(tmp_path / "coarse.wav", 4, sample_bytes=1), MediaNotAllowed),
        (noise, MediaNotAllowed),
        (tmp_path / "absent.wav", CheckpointMissing),
    ):
        with pytest.raises(error):
            folder.register(source, "anna", "en", "agreed")
    for name, language, license_name in (("../anna", "en", "agreed"), ("anna", " ", "agreed"), ("anna", "en", "")):
        with pytest.raises(InvalidInput):
            folder.register(good, name, language, license_name)
    assert folder.record() == {}
