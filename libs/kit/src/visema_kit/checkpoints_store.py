"""A folder of weights: imported once from the published files, then read as safetensors.

The published files are pickles. A pickle is read with `weights_only`, so nothing in it runs, and only after its hash
was right. What it holds is checked against the network's layout and written as safetensors, which is mapped into
memory and holds no code. `imported.json` in the folder records where every network came from and the hash of what was
written. torch and safetensors are imported when a file is read: embedded installations do without.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visema_kit.checkpoints import FOLDER_VARIABLE, CheckpointFile, ModelWeights, NetworkPart, layout_of
from visema_kit.errors import CheckpointMissing
from visema_kit.records import read_record, write_record

if TYPE_CHECKING:
    from torch import Tensor

RECORD_NAME = "imported.json"
_PREFIX = "module."  # left by distributed training


@dataclass(frozen=True, slots=True)
class ImportedNetwork:
    """What `imported.json` says of one network.

    Attributes:
        source_name: The file that it came from.
        source_sha256: Hash of that file.
        sha256: Hash of our safetensors file.
        published: The source was the pinned file; False for weights that the operator vouched for.
    """

    source_name: str
    source_sha256: str
    sha256: str
    published: bool


def file_sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hash of a file; `progress` gets the number of bytes read with each block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


class CheckpointFolder:
    """The weights on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, path: Path | None) -> CheckpointFolder:
        """The folder of a setting. Raises: CheckpointMissing: it is not set."""
        if path is None:
            raise CheckpointMissing(f"{FOLDER_VARIABLE} is not set: there are no weights. {_how_to_get('NAME')}")
        return cls(path)

    def record(self) -> dict[str, ImportedNetwork]:
        """Imported networks by name; empty when nothing was imported. Raises: CheckpointMissing: it is damaged."""
        return read_record(self.path / RECORD_NAME, ImportedNetwork)

    def weights_path(self, network: str) -> Path:
        """Where a network's safetensors file lies."""
        return self.path / f"{network}.safetensors"

    def import_file(self, source: Path, file: CheckpointFile, *, vouched_sha256: str = "") -> list[str]:
        """Check a published file and convert what it holds.

        Args:
            source: The file on disk; it stays as it is.
            file: Which published file it is. vouched_sha256: Hash of weights of the operator's own (e.g. fine-tuned)
                in the same format, accepted instead of the pinned one.

        Returns: The imported networks.

        Raises: CheckpointMissing: another hash, code in the pickle, or tensors that do not fit.
        """
        actual = file_sha256(source)
        expected = vouched_sha256.lower() or file.sha256
        if actual != expected:
            raise CheckpointMissing(
                f"{source.name} has the sha256 {actual}, not {expected}: it is damaged or another file.",
                metadata={"file": file.name, "sha256": actual},
            )
        stored = _read_tensors(source)
        states = {part.network: _checked_state(stored, part, source.name) for part in file.parts}
        record = self.record()
        for network, state in states.items():
            record[network] = ImportedNetwork(file.name, actual, self._write(network, state), actual == file.sha256)
        write_record(self.path / RECORD_NAME, record)
        return list(states)

    def load(self, network: str) -> tuple[dict[str, Tensor], ImportedNetwork]:
        """A network's tensors, mapped from the file, and where they came from.

        Raises: CheckpointMissing: not imported, changed since, or of another layout.
        """
        entry = self._verified(network)
        from safetensors.torch import load_file  # noqa: PLC0415 - only neural engines have it

        state: dict[str, Tensor] = load_file(self.weights_path(network))
        _check_layout(state, network, self.weights_path(network).name)
        return state, entry

    def verify(self, network: str) -> ImportedNetwork:
        """Read a network's file and compare its hash. Raises: CheckpointMissing: absent or changed."""
        return self._verified(network)

    def has(self, model: ModelWeights) -> bool:
        """True when every network of the model was imported from its file; hashes are not read."""
        record = self.record()
        return all(
            part.network in record
            and record[part.network].source_name == file.name
            and self.weights_path(part.network).is_file()
            for file in model.files
            for part in file.parts
        )

    def remove(self, model: ModelWeights) -> list[str]:
        """Delete a model's weights. Returns: the networks that were there."""
        record = self.record()
        removed = []
        for file in model.files:
            for part in file.parts:
                entry = record.get(part.network)
                if entry is not None and entry.source_name == file.name:
                    self.weights_path(part.network).unlink(missing_ok=True)
                    del record[part.network]
                    removed.append(part.network)
        if removed:
            write_record(self.path / RECORD_NAME, record)
        return removed

    def _verified(self, network: str) -> ImportedNetwork:
        entry = self.record().get(network)
        path = self.weights_path(network)
        model = network.split("/", maxsplit=1)[0]
        if entry is None or not path.is_file():
            raise CheckpointMissing(
                f"The weights of {network} are not in the checkpoint folder. {_how_to_get(model)}",
                metadata={"network": network},
            )
        actual = file_sha256(path)
        if actual != entry.sha256:
            raise CheckpointMissing(
                f"The weights of {network} were changed after they were imported. {_how_to_get(model)}",
                metadata={"network": network, "sha256": actual},
            )
        return entry

    def _write(self, network: str, state: Mapping[str, Tensor]) -> str:
        from safetensors.torch import save_file  # noqa: PLC0415

        path = self.weights_path(network)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, partial)
        sha256 = file_sha256(partial)
        partial.replace(path)
        return sha256


def weights_digest(entries: Iterable[ImportedNetwork]) -> str:
    """One hash over the weights in use, for object keys and Describe."""
    return hashlib.sha256("".join(sorted(entry.sha256 for entry in entries)).encode()).hexdigest()


def _how_to_get(model: str) -> str:
    return f"Get them with: visema models pull {model}, or from a file with: visema models import."


def _read_tensors(path: Path) -> Any:
    """The content of a published file, without running anything in it."""
    try:
        import torch  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CheckpointMissing("Importing weights needs torch, which is not installed.") from error
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError  # noqa: PLC0415
        from safetensors.torch import load_file  # noqa: PLC0415

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointMissing(f"{path.name} is not a safetensors file.") from error
    try:
        # Never without weights_only: a pickle runs any code that it holds.
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointMissing(
            f"{path.name} holds more than tensors, perhaps code; it was not read.", metadata={"file": path.name}
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise CheckpointMissing(f"{path.name} is not a checkpoint: {error}") from error


def _checked_state(stored: Any, part: NetworkPart, source_name: str) -> dict[str, Tensor]:
    """The tensors of one network under their bare names, checked against its layout."""
    for key in part.nesting:
        if not isinstance(stored, Mapping) or key not in stored:
            raise CheckpointMissing(f"{source_name} has no entry {key!r}, where {part.network} should be.")
        stored = stored[key]
    if not isinstance(stored, Mapping):
        raise CheckpointMissing(f"{source_name} holds no tensors for {part.network}.")
    state = {str(name).removeprefix(_PREFIX): tensor for name, tensor in stored.items()}
    _check_layout(state, part.network, source_name)
    return state


def _check_layout(state: Mapping[str, Any], network: str, source_name: str) -> None:
    """Raises: CheckpointMissing: a tensor is missing, unknown, or of another shape."""
    wanted = layout_of(network)
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in state.items()}
    missing, unknown = sorted(wanted.keys() - shapes.keys()), sorted(shapes.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointMissing(
            f"{source_name} does not fit {network}: {len(missing)} tensors are missing, {len(unknown)} unknown, "
            f"first {(missing or unknown)[0]}."
        )
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise CheckpointMissing(
                f"{source_name} does not fit {network}: {name} has the shape {shapes[name]}, not {shape}."
            )
