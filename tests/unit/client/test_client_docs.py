"""The examples of docs/sdk.md run, and docs/cli.md says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from visema_client.cli.exits import Exit

DOCS = Path(__file__).resolve().parents[3] / "docs"
EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "sdk.md").read_text(encoding="utf-8"), re.DOTALL)
UNRUN = re.findall(r"```python no-run\n(.*?)```", (DOCS / "sdk.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_sdk_page_runs(number: int, fake_address: str, tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").write_bytes(b"picture")
    (tmp_path / "speech.wav").write_bytes(b"speech")
    program = EXAMPLES[number].replace("localhost:50051", fake_address)
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
