"""Write the hashed lock files of the images: `make locks`, after a dependency or constraints.txt has changed.

SERVICE.txt holds what the service needs, with OpenTelemetry; SERVICE-neural.txt what its neural engine needs besides.
Where that is torch, the lock has what torch stands on without torch, whose build is chosen when the image is built.
torch-cuda.txt holds the build that PyPI has, with NVIDIA's libraries: it is taken where nothing else is chosen.
build.txt holds what makes wheels of our own packages.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).resolve().parent
UV = Path(sys.executable).with_name("uv")
PYTHON_VERSION = "3.11"  # as in the images' base
PLATFORM = "x86_64-manylinux_2_36"  # Debian 12
BUILD = "hatchling>=1.27"
TORCH_REQUIREMENTS = ("filelock", "typing-extensions", "setuptools>=77", "sympy", "networkx", "jinja2", "fsspec")
MODELS_COMMAND = "./libs/client"  # `visema models pull` fetches the checkpoints, in the image that needs them
IMAGE_EXTRAS = ("postgres",)
NEURAL_EXTRAS = ("neural", "openvino")
OURS = "visema-"
TORCH_ABSENT = "torch; sys_platform == 'never'"
_TORCH_VERSION = re.compile(r"^ARG TORCH_VERSION=(\S+)$", re.MULTILINE)
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def services() -> list[str]:
    """Names of all services."""
    return sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))


def project(folder: Path) -> dict[str, object]:
    """The `project` table of a package."""
    table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not isinstance(table, dict):
        raise TypeError(f"{folder}/pyproject.toml has no project table")
    return table


def own_libraries(service: str) -> list[str]:
    """Names of our libraries that a service stands on, those of its libraries included."""
    found: list[str] = []
    waiting = [ROOT / "services" / service]
    while waiting:
        dependencies = project(waiting.pop()).get("dependencies", [])
        for requirement in dependencies if isinstance(dependencies, list) else []:
            name = requirement_name(str(requirement))
            library = name.removeprefix(OURS)
            if name.startswith(OURS) and library not in found:
                found.append(library)
                waiting.append(ROOT / "libs" / library)
    return sorted(found)


def requirement_name(requirement: str) -> str:
    """Name of the distribution that a requirement asks for."""
    match = _NAME.match(requirement)
    if match is None:
        raise ValueError(f"no requirement: {requirement!r}")
    return match.group().lower().replace("_", "-").replace(".", "-")


def extras(service: str, known: tuple[str, ...] = NEURAL_EXTRAS) -> list[str]:
    """Which of these extras the service has; by default those of its neural engine."""
    return [name for name in known if name in optional_dependencies(service)]


def optional_dependencies(service: str) -> dict[str, list[str]]:
    """Requirements by extra."""
    optional = project(ROOT / "services" / service).get("optional-dependencies", {})
    return optional if isinstance(optional, dict) else {}


def takes_torch(service: str) -> bool:
    """Whether its neural engine stands on torch."""
    optional = optional_dependencies(service)
    return any(requirement_name(wanted) == "torch" for name in extras(service) for wanted in optional[name])


def torch_version() -> str:
    """The one version of torch that the images take. Raises: ValueError: they take several."""
    files = [path.read_text(encoding="utf-8") for path in ROOT.glob("services/*/Dockerfile")]
    (version,) = {version for text in files for version in _TORCH_VERSION.findall(text)}
    return str(version)


def compile_lock(
    requirements: list[str], *, without: frozenset[str] = frozenset(), overrides: tuple[str, ...] = (TORCH_ABSENT,)
) -> str:
    """Resolve and pin with hashes. Args: without: distributions that another lock holds already."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "requirements.in", Path(folder) / "lock.txt"
        override_file = Path(folder) / "overrides.txt"
        source.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        override_file.write_text(
            "\n".join([(ROOT / "overrides.txt").read_text(encoding="utf-8"), *overrides, ""]), encoding="utf-8"
        )
        ours = [f"{OURS}{path.parent.name}" for path in ROOT.glob("*/*/pyproject.toml")]
        left_out = [argument for name in sorted({*ours, *without}) for argument in ("--no-emit-package", name)]
        subprocess.run(
            [
                *(UV, "pip", "compile", source, "--output-file", target, "--quiet"),
                *("--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:"),
                *("--constraints", ROOT / "constraints.txt", "--overrides", override_file),
                *("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
                *left_out,
            ],
            check=True,
            cwd=ROOT,
        )
        return target.read_text(encoding="utf-8")


def pinned(lock: str) -> dict[str, str]:
    """Distribution to version."""
    pins = (line.split(" ", 1)[0] for line in lock.splitlines() if line and not line.startswith((" ", "#")))
    return {name: version for name, _, version in (pin.partition("==") for pin in pins)}


def write(name: str, text: str) -> None:
    """Write one lock file."""
    (LOCKS / f"{name}.txt").write_text(text, encoding="utf-8")


def main() -> None:
    """Write all of them."""
    write("build", compile_lock([BUILD]))
    needs = frozenset(pinned(compile_lock([*TORCH_REQUIREMENTS])))
    write("torch-cuda", compile_lock([f"torch=={torch_version()}"], without=needs, overrides=()))
    for service in services():
        libraries = [f"./libs/{name}{'[otel]' if name == 'kit' else ''}" for name in own_libraries(service)]
        wanted = f"./services/{service}[{','.join(extras(service, IMAGE_EXTRAS))}]".removesuffix("[]")
        base = compile_lock([*libraries, wanted])
        write(service, base)
        if extras(service):
            wanted = f"./services/{service}[{','.join(extras(service))}]"
            for_torch = [MODELS_COMMAND, *TORCH_REQUIREMENTS] if takes_torch(service) else []
            neural = compile_lock([*libraries, wanted, *for_torch], without=frozenset(pinned(base)))
            write(f"{service}-neural", neural)


if __name__ == "__main__":
    main()
