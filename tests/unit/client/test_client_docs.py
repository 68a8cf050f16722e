"""The examples of docs/sdk.md and the README run, and docs/cli.md says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from visema_client.cli.exits import Exit
from visema_client.cli.up import up

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "sdk.md", ROOT / "README.md"))
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGES, re.DOTALL)
UNRUN = re.findall(r"```python no-run\n(.*?)```", PAGES, re.DOTALL)
UP_ADDRESS = f"localhost:{signature(up).parameters['port'].default}"  # where `visema up` serves unless told otherwise


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_sdk_runs(number: int, fake_address: str, tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").write_bytes(b"picture")
    (tmp_path / "speech.wav").write_bytes(b"speech")
    assert UP_ADDRESS in EXAMPLES[number]
    program = EXAMPLES[number].replace(UP_ADDRESS, fake_address)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "another picture" not in done.stdout


@pytest.mark.parametrize("example", UNRUN)
def test_an_example_that_needs_more_is_at_least_python(example: str) -> None:
    compile(example, "docs/sdk.md", "exec")


def test_the_page_lists_every_exit_status() -> None:
    listed = re.findall(r"^\| (\d+) \|", (DOCS / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in listed] == [status.value for status in Exit]


def test_the_readme_tells_what_was_measured_last() -> None:
    measured = re.search(
        r"^\| from CreateJob to the readable result \| ([\d.]+) \| ([\d.]+) \|",
        (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert measured
    unprepared_s, prepared_s = (float(figure) for figure in measured.groups())
    told = f"{unprepared_s:.1f} s, or {prepared_s:.1f} s"
    assert told in (ROOT / "README.md").read_text(encoding="utf-8").split("## How fast")[1]
