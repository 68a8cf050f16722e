"""Weights are checked before anything is built from them, and a broken download goes on."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from visema_kit.checkpoints import LIVEPORTRAIT, MODELS, WAV2LIP, CheckpointFile, check_license, layout_of, model_named
from visema_kit.checkpoints_download import fetch
from visema_kit.checkpoints_store import RECORD_NAME, CheckpointFolder, file_sha256, weights_digest
from visema_kit.errors import CheckpointMissing, LicenseNotAccepted, Unavailable

torch = pytest.importorskip("torch", reason="importing weights needs torch")

from golden import weights  # noqa: E402
from support.official_weights import RECIPES  # noqa: E402

RETARGETING = LIVEPORTRAIT.files[-1]


def state(network: str, prefix: str = "") -> dict[str, Any]:
    filled = weights.fill_state(layout_of(network))
    return {prefix + name: torch.from_numpy(values) for name, values in filled.items()}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The retargeting file as it is published: nested, names prefixed by distributed training."""
    path = tmp_path / "stitching_retargeting_module.pth"
    torch.save({part.nesting[0]: state(part.network, "module.") for part in RETARGETING.parts}, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return CheckpointFolder(path)


def pinned(path: Path, file: CheckpointFile = RETARGETING) -> CheckpointFile:
    """`file` with the hash and size of the synthetic one."""
    return replace(file, sha256=file_sha256(path), size_bytes=path.stat().st_size)


@pytest.mark.parametrize("network", list(RECIPES))
def test_layouts_are_those_of_the_official_networks(network: str) -> None:
    assert layout_of(network) == weights.manifest_shapes(RECIPES[network])


def test_every_pinned_file_has_a_hash_and_a_source() -> None:
    for model in MODELS:
        for file in model.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.url.startswith("https://")
            assert all(layout_of(part.network) for part in file.parts)


def test_a_published_file_is_converted_under_bare_names(official: Path, folder: CheckpointFolder) -> None:
    assert folder.import_file(official, pinned(official)) == [part.network for part in RETARGETING.parts]
    for part in RETARGETING.parts:
        loaded, entry = folder.load(part.network)
        expected = state(part.network)
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
        assert entry.published
        assert folder.weights_path(part.network).suffix == ".safetensors"


def test_names_without_prefix_and_safetensors_are_accepted_too(tmp_path: Path, folder: CheckpointFolder) -> None:
    from safetensors.torch import save_file

    appearance = LIVEPORTRAIT.files[0]
    source = tmp_path / "appearance_feature_extractor.safetensors"
    save_file(state("liveportrait/appearance"), source)
    folder.import_file(source, pinned(source, appearance))
    assert folder.load("liveportrait/appearance")[1].source_name == appearance.name


def test_a_flipped_byte_is_refused_before_the_file_is_read(official: Path, folder: CheckpointFolder) -> None:
    file = pinned(official)
    content = bytearray(official.read_bytes())
    content[len(content) // 2] ^= 1
    official.write_bytes(content)
    with pytest.raises(CheckpointMissing, match="damaged"):
        folder.import_file(official, file)
    assert folder.record() == {}


def test_a_wrong_shape_names_the_tensor(tmp_path: Path, folder: CheckpointFolder) -> None:
    tensors = {part.nesting[0]: state(part.network, "module.") for part in RETARGETING.parts}
    tensors["retarget_eye"]["module.mlp.0.weight"] = torch.zeros(256, 67)
    path = tmp_path / "stitching_retargeting_module.pth"
    torch.save(tensors, path)
    with pytest.raises(CheckpointMissing, match=r"mlp\.0\.weight has the shape \(256, 67\)"):
        folder.import_file(path, pinned(path))
    assert folder.record() == {}


def test_missing_and_unknown_tensors_are_refused(tmp_path: Path, folder: CheckpointFolder) -> None:
    tensors = {part.nesting[0]: state(part.network) for part in RETARGETING.parts}
    tensors["retarget_eye"]["mlp.99.weight"] = tensors["retarget_eye"].pop("mlp.0.weight")
    path = tmp_path / "stitching_retargeting_module.pth"
    torch.save(tensors, path)
    with pytest.raises(CheckpointMissing, match="1 tensors are missing, 1 unknown"):
        folder.import_file(path, pinned(path))


class Trap:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(zipped: bool, tmp_path: Path, folder: CheckpointFolder) -> None:
    path, trace = tmp_path / "stitching_retargeting_module.pth", tmp_path / "ran"
    content = {"retarget_eye": Trap(trace)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))  # torch's own, of before it zipped files
    with pytest.raises(CheckpointMissing, match="perhaps code"):
        folder.import_file(path, pinned(path))
    assert not trace.exists()


def test_weights_of_the_operators_own_need_their_hash(official: Path, folder: CheckpointFolder) -> None:
    with pytest.raises(CheckpointMissing, match="not 3652d5a3"):
        folder.import_file(official, RETARGETING)
    folder.import_file(official, RETARGETING, vouched_sha256=file_sha256(official).upper())
    assert not folder.load("liveportrait/eyes")[1].published


def test_weights_changed_after_the_import_do_not_load(official: Path, folder: CheckpointFolder) -> None:
    folder.import_file(official, pinned(official))
    path = folder.weights_path("liveportrait/eyes")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointMissing, match="changed after"):
        folder.load("liveportrait/eyes")
    folder.load("liveportrait/lips")


def test_absent_weights_say_how_to_get_them(folder: CheckpointFolder) -> None:
    with pytest.raises(CheckpointMissing, match="visema models pull liveportrait"):
        folder.load("liveportrait/decoder")
    with pytest.raises(CheckpointMissing, match="VISEMA_CHECKPOINT_DIR"):
        CheckpointFolder.at(None)


def test_a_damaged_record_is_said_so(folder: CheckpointFolder) -> None:
    (folder.path / RECORD_NAME).write_text("[1]")
    with pytest.raises(CheckpointMissing, match="damaged"):
        folder.record()


def test_removing_a_model_leaves_nothing_of_it(official: Path, folder: CheckpointFolder) -> None:
    folder.import_file(official, pinned(official))
    assert sorted(folder.remove(LIVEPORTRAIT)) == ["liveportrait/eyes", "liveportrait/lips", "liveportrait/stitching"]
    assert not list(folder.path.rglob("*.safetensors"))
    assert folder.remove(LIVEPORTRAIT) == []


def test_digest_of_weights_does_not_depend_on_their_order(official: Path, folder: CheckpointFolder) -> None:
    folder.import_file(official, pinned(official))
    entries = list(folder.record().values())
    assert weights_digest(entries) == weights_digest(reversed(entries))
    assert weights_digest(entries) != weights_digest(entries[:1])


def test_non_commercial_weights_need_the_licence_accepted() -> None:
    with pytest.raises(LicenseNotAccepted, match="VISEMA_ACCEPT_LICENSES=wav2lip-noncommercial"):
        check_license(WAV2LIP, frozenset())
    check_license(WAV2LIP, frozenset({"wav2lip-noncommercial"}))
    check_license(LIVEPORTRAIT, frozenset())


def test_an_unknown_model_names_those_that_there_are() -> None:
    with pytest.raises(CheckpointMissing, match="liveportrait"):
        model_named("gan")


class RangeServer(ThreadingHTTPServer):
    """Serves one file, with ranges, and breaks off after some bytes as often as it is told to."""

    def __init__(self, content: bytes, breaks: list[int], ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.breaks, self.ranges = content, breaks, ranges
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mirror"


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        content, wanted = self.server.content, self.headers.get("Range", "")
        self.server.asked.append(f"{self.path} {wanted}".strip())
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[start:stop])
        self.close_connection = True


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[RangeServer] = []

    def start(content: bytes, breaks: list[int] | None = None, *, ranges: bool = True) -> RangeServer:
        server = RangeServer(content, breaks or [], ranges)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CONTENT = bytes(range(256)) * 4096


def published(content: bytes = CONTENT) -> CheckpointFile:
    return CheckpointFile("m/x.pth", "http://127.0.0.1:9/none", len(content), hashlib.sha256(content).hexdigest(), ())


def test_a_broken_download_goes_on_where_it_ended(serve: Any, tmp_path: Path) -> None:
    server = serve(CONTENT, [100_000, 200_000])
    seen: list[tuple[int, int]] = []
    path = fetch(published(), tmp_path, mirror=server.url, progress=lambda there, total: seen.append((there, total)))
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/mirror/m/x.pth", "/mirror/m/x.pth bytes=100000-", "/mirror/m/x.pth bytes=300000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [there for there, _ in seen] == sorted(there for there, _ in seen)


def test_a_download_of_an_earlier_run_goes_on(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.pth.part").write_bytes(CONTENT[:5000])
    server = serve(CONTENT)
    fetch(published(), tmp_path, mirror=server.url)
    assert server.asked == ["/mirror/m/x.pth bytes=5000-"]
    fetch(published(), tmp_path, mirror=server.url)  # it is there: nothing is asked
    assert len(server.asked) == 1


def test_a_host_without_ranges_starts_again(serve: Any, tmp_path: Path) -> None:
    server = serve(CONTENT, [100_000], ranges=False)
    assert fetch(published(), tmp_path, mirror=server.url).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_dropped(serve: Any, tmp_path: Path) -> None:
    server = serve(CONTENT[:-1] + b"!")
    with pytest.raises(CheckpointMissing, match="sha256"):
        fetch(published(), tmp_path, mirror=server.url)
    assert not list(tmp_path.rglob("x.pth*"))


def test_a_host_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="broke off"):
        fetch(published(), tmp_path, mirror="http://127.0.0.1:9")


def test_an_offline_directory_serves_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "x.pth").write_bytes(CONTENT)
    assert fetch(published(), tmp_path / "here", offline=tmp_path / "usb").read_bytes() == CONTENT
    with pytest.raises(CheckpointMissing, match="holds neither"):
        fetch(replace(published(), name="m/y.pth"), tmp_path / "here", offline=tmp_path / "usb")


def test_the_command_line_imports_verifies_lists_and_removes(official: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner
    from visema_client.models_cli import app

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "--folder", str(tmp_path / "c")], env={"COLUMNS": "200"})

    refused = run("import", "liveportrait", str(official))
    assert refused.exit_code != 0
    imported = run("import", "liveportrait", str(official), "--sha256", file_sha256(official))
    assert imported.exit_code == 0, imported.output
    assert "liveportrait/eyes" in json.loads((tmp_path / "c" / RECORD_NAME).read_text())
    assert run("verify", "liveportrait").exit_code != 0  # the other files are not here
    listed = run("list")
    assert listed.exit_code == 0
    assert "wav2lip" in listed.output
    assert run("remove", "liveportrait").exit_code == 0
    unaccepted = run("pull", "wav2lip")
    assert unaccepted.exit_code != 0
