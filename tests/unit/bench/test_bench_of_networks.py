"""The benches of the neural networks run where nothing but torch and numpy is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the bench measures torch")
pytestmark = pytest.mark.neural

BENCH = Path(__file__).resolve().parents[3] / "bench"
BARE_MACHINE = """
import importlib.abc, re, runpy, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def normal(name):
    return re.sub("[-_.]+", "-", name).lower()

def with_requirements(package, found):
    if package not in found:
        found.add(package)
        try:
            needed = [each for each in requires(package) or () if "extra ==" not in each]
        except PackageNotFoundError:  # of another platform
            needed = []
        for each in needed:
            with_requirements(normal(re.match(r"[\\w.-]+", each)[0]), found)
    return found

installed = with_requirements("torch", set()) | with_requirements("numpy", set())
owners = packages_distributions()

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        distributions = {normal(owner) for owner in owners.get(name.partition(".")[0], ())}
        if distributions and not distributions & installed:
            raise ModuleNotFoundError(f"{name} is not installed on a bare machine", name=name)

sys.meta_path.insert(0, Bare())
sys.path.insert(0, sys.argv[1])
sys.argv = [sys.argv[2], "--help"]
runpy.run_path(f"{sys.path[0]}/{sys.argv[0]}", run_name="__main__")
"""


@pytest.mark.parametrize(("bench", "option"), [("neural.py", "--rounds"), ("neural_memory.py", "--seconds")])
def test_it_needs_torch_and_numpy_only(bench: str, option: str):
    done = subprocess.run(
        [sys.executable, "-c", BARE_MACHINE, BENCH, bench], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert option in done.stdout
