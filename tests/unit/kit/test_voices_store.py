"""Neural voices are imported with hash and licence, and nothing else is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_voice import write_voice
from visema_kit.checkpoints_store import file_sha256
from visema_kit.errors import CheckpointMissing, InvalidInput
from visema_kit.voices_store import RECORD_NAME, VoiceFolder


@pytest.fixture
def folder(tmp_path: Path) -> VoiceFolder:
    return VoiceFolder(tmp_path / "checkpoints")


def test_an_imported_voice_is_recorded_with_its_hashes_and_its_licence(folder: VoiceFolder, tmp_path: Path) -> None:
    source = write_voice(tmp_path, "en-one")
    assert folder.import_voice(source, " CC-BY-4.0 ", expected_sha256=file_sha256(source).upper()) == "en-one"
    entry = folder.record()["en-one"]
    assert entry.license == "CC-BY-4.0"
    assert entry.network_sha256 == file_sha256(source)
    files = folder.read("en-one")
    assert files.network == source.read_bytes()
    assert files.description == Path(f"{source}.json").read_bytes()
    assert not list(folder.path.glob("*.partial"))
    assert folder.remove("en-one")
    assert not folder.remove("en-one")
    assert [path.name for path in folder.path.iterdir()] == [RECORD_NAME]


def test_a_voice_needs_a_licence_a_plain_name_and_the_hash_that_was_named(folder: VoiceFolder, tmp_path: Path) -> None:
    source = write_voice(tmp_path)
    with pytest.raises(InvalidInput, match="licence"):
        folder.import_voice(source, " ")
    with pytest.raises(InvalidInput, match="no name of a voice"):
        folder.import_voice(source.with_name("a voice.onnx"), "MIT")
    with pytest.raises(InvalidInput, match="no name of a voice"):
        folder.import_voice(source.with_name("voice.pt"), "MIT")
    with pytest.raises(CheckpointMissing, match="damaged or another file"):
        folder.import_voice(source, "MIT", expected_sha256="0" * 64)
    Path(f"{source}.json").unlink()
    with pytest.raises(CheckpointMissing, match=r"There is no .*\.onnx\.json"):
        folder.import_voice(source, "MIT")
    assert folder.record() == {}


@pytest.mark.parametrize("suffix", [".onnx", ".onnx.json"])
def test_a_file_that_is_gone_or_was_changed_is_a_checkpoint_error(
    folder: VoiceFolder, tmp_path: Path, suffix: str
) -> None:
    with pytest.raises(CheckpointMissing, match="is not in the checkpoint folder"):
        folder.read("en-one")
    folder.import_voice(write_voice(tmp_path, "en-one"), "MIT")
    path = folder.path / f"en-one{suffix}"
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(CheckpointMissing, match=f"en-one{suffix} was changed"):
        folder.read("en-one")
    path.unlink()
    with pytest.raises(CheckpointMissing, match=f"en-one{suffix} is not in the checkpoint folder"):
        folder.read("en-one")


def test_a_damaged_record_says_what_to_do(folder: VoiceFolder, tmp_path: Path) -> None:
    folder.import_voice(write_voice(tmp_path), "MIT")
    (folder.path / RECORD_NAME).write_text("{")
    with pytest.raises(CheckpointMissing, match="import again"):
        folder.record()
