"""Generate libs/stubs from protos/, and check that API changes are compatible.

python tools/protogen.py generate   wipe and write libs/stubs/src/visema and protos/image.binpb's source
python tools/protogen.py check      fail when the stubs are stale, the style is broken or a change is incompatible
python tools/protogen.py baseline   accept the present API as the one that later changes must be compatible with
"""

from __future__ import annotations

import filecmp
import importlib.resources
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from google.api import field_behavior_pb2

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
STUBS = ROOT / "libs" / "stubs" / "src" / "visema"
BASELINE = PROTOS / "baseline.binpb"
TOOLS = Path(sys.executable).parent  # of the virtual environment
BUF_CONFIG = PROTOS / "buf.yaml"
PACKAGE_DOC = '"""Generated protobuf and gRPC code of the VISEMA API; see protos/."""\n'


def run(*command: str) -> None:
    """Run a command and stop with its exit status where it fails."""
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)


def protoc(*outputs: str) -> None:
    """Run the pinned protoc over every proto of ours."""
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    google_apis = Path(field_behavior_pb2.__file__).parents[2]
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    includes = [f"-I{PROTOS}", f"-I{well_known}", f"-I{google_apis}"]
    plugins = [f"--plugin=protoc-gen-{name}={TOOLS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    run(sys.executable, "-m", "grpc_tools.protoc", *plugins, *includes, *outputs, *sources)


def write_stubs(target: Path) -> None:
    """Write the import root `visema` into the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    protoc(*(f"--{kind}={target}" for kind in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")))
    root = target / "visema"
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        (folder / "__init__.py").write_text(PACKAGE_DOC)
    (root / "py.typed").touch()


def write_image(target: Path) -> None:
    """Write a descriptor set with comments, which buf lints and compares."""
    protoc(f"--descriptor_set_out={target}", "--include_imports", "--include_source_info")


def generate() -> None:
    """Replace the committed stubs."""
    with tempfile.TemporaryDirectory() as folder:
        write_stubs(Path(folder))
        shutil.rmtree(STUBS, ignore_errors=True)
        shutil.copytree(Path(folder) / "visema", STUBS)


def differences(left: Path, right: Path) -> list[str]:
    """Relative names of files that differ between two folders, caches aside."""
    names = {
        path.relative_to(base)
        for base in (left, right)
        for path in base.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    same, _, _ = filecmp.cmpfiles(left, right, [str(name) for name in names], shallow=False)
    return sorted(str(name) for name in names if str(name) not in set(same))


def check() -> None:
    """Stop with status 1 where stubs are stale, style is broken or a change is incompatible."""
    with tempfile.TemporaryDirectory() as folder:
        write_stubs(Path(folder))
        stale = differences(Path(folder) / "visema", STUBS)
        if stale:
            sys.exit(f"stale stubs, run `make proto`: {', '.join(stale)}")
        image = Path(folder) / "image.binpb"
        write_image(image)
        buf = str(TOOLS / "buf")
        run(buf, "lint", str(image), "--config", str(BUF_CONFIG))
        run(buf, "breaking", str(image), "--against", str(BASELINE), "--config", str(BUF_CONFIG))
    print("protos: stubs fresh, style clean, no breaking change")


def main() -> None:
    """Run the command named on the command line."""
    commands: dict[str, Callable[[], None]] = {
        "generate": generate,
        "check": check,
        "baseline": lambda: write_image(BASELINE),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()


if __name__ == "__main__":
    main()
