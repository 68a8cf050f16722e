"""Every example of the REST documentation runs as written, with curl, against the whole stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import av
import pytest
import visema_client

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = Path(visema_client.__file__).parent / "samples"

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]


def examples(text: str) -> str:
    """The shell blocks of a text, in order."""
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))


def run(script: str, folder: Path, url: str) -> str:
    for name in ("portrait.jpg", "speech.wav"):
        shutil.copy(SAMPLES / name, folder / name)
    environment = os.environ | {"VISEMA": url, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def frames(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_examples_of_the_rest_documentation_run(gateway_url: str, tmp_path: Path) -> None:
    said = run(examples((ROOT / "docs/rest.md").read_text()), tmp_path, gateway_url)
    assert '"status":"completed"' in said
    for name in ("talking.mp4", "anna.mp4", "small.mp4"):
        assert frames(tmp_path / name) == 125
    assert (tmp_path / "first-kilobyte").read_bytes() == (tmp_path / "talking.mp4").read_bytes()[:1024]
    assert (tmp_path / "poster.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (tmp_path / "events.txt").read_text().count("event: end") == 1
    assert len((tmp_path / "talking.jsonl").read_text().splitlines()) > 2


def test_the_example_of_the_readme_runs(gateway_url: str, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## REST and web page")[1].split("\n## ")[0]
    run(examples(section), tmp_path, gateway_url)
    assert frames(tmp_path / "talking.mp4") == 125
