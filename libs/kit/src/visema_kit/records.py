"""A JSON file that says what lies in a folder: entries of one dataclass by name, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from visema_kit.errors import CheckpointMissing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Entry = TypeVar("Entry", bound="DataclassInstance")


def read_record(path: Path, entry_class: type[Entry]) -> dict[str, Entry]:
    """The entries by name; empty when there is no file. Raises: CheckpointMissing: it is damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: entry_class(**entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointMissing(f"{path.name} in the checkpoint folder is damaged; import again.") from error


def write_record(path: Path, record: Mapping[str, DataclassInstance]) -> None:
    """Replace the file: a reader sees the old entries or the new ones."""
    partial = path.with_name(f"{path.name}.partial")
    text = json.dumps({name: asdict(entry) for name, entry in sorted(record.items())}, indent=2)
    partial.write_text(text + os.linesep, encoding="utf-8")
    partial.replace(path)
