"""Checks of the machine: Python, processor, memory, disk, ports, limits, GPU."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from visema_client.diagnosis.check import Check, bad, good, note
from visema_client.localstack.ports import free_ports

GIB: Final = 1024**3
OLDEST_PYTHON, PYTHON_LIMIT = (3, 11), (3, 13)
MEMORY_GIB: Final = 4.0
DISK_BAD_GIB, DISK_NOTE_GIB = 0.5, 3.0
OPEN_FILES: Final = 1024
STACK_PORTS: Final = 16
SMI_TIMEOUT_S: Final = 20


def python() -> Check:
    """The interpreter's version and the processor's kind."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not OLDEST_PYTHON <= sys.version_info[:2] < PYTHON_LIMIT:
        return bad("Python", found, "Use Python 3.11 or 3.12: MediaPipe has no builds for others.")
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return note("Python", found, "Only x86-64 is tested; MediaPipe 0.10.21 may have no build for this processor.")
    return good("Python", found)


def processor() -> Check:
    """Cores and the instructions that neural engines like."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        line = next((row for row in cpuinfo.read_text().splitlines() if row.startswith("flags")), "")
        flags = set(line.split()) & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
    found = f"{cores} cores, {', '.join(sorted(flags)) or 'no vector extensions seen'}"
    if cores < 2:  # noqa: PLR2004  # the stages overlap on two
        return note("Processor", found, "With two or more cores the stages overlap.")
    return good("Processor", found)


def memory() -> Check:
    """Memory that is free now."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return good("Memory", "cannot be read on this system")
    rows = dict(row.split(":", 1) for row in meminfo.read_text().splitlines())
    available_gib = int(rows["MemAvailable"].split()[0]) * 1024 / GIB
    found = f"{available_gib:.1f} GiB available"
    if available_gib < MEMORY_GIB:
        return note("Memory", found, f"A whole stack wants about {MEMORY_GIB:g} GiB; close other programs.")
    return good("Memory", found)


def disk() -> Check:
    """Room for temporary files."""
    folder = tempfile.gettempdir()
    free_gib = shutil.disk_usage(folder).free / GIB
    found = f"{free_gib:.1f} GiB free in {folder}"
    mend = "Free some space, or let TMPDIR name a folder with more."
    if free_gib < DISK_BAD_GIB:
        return bad("Disk", found, mend)
    return note("Disk", found, mend) if free_gib < DISK_NOTE_GIB else good("Disk", found)


def ports() -> Check:
    """Free ports on the loopback interface."""
    try:
        chosen = free_ports(STACK_PORTS)
    except OSError as error:
        return bad("Ports", str(error), "Allow listening on 127.0.0.1, or stop programs that hold ports 20000-32000.")
    return good("Ports", f"{len(chosen)} free ports on 127.0.0.1")


def open_files() -> Check:
    """How many files a process may open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{limit} per process"
    if limit != resource.RLIM_INFINITY and limit < OPEN_FILES:
        return note("Open files", found, f"Run `ulimit -n {OPEN_FILES}` first.")
    return good("Open files", found)


def gpu() -> Check:
    """NVIDIA GPU and driver; neural engines use it."""
    program = shutil.which("nvidia-smi")
    mend = "Embedded engines need none; neural ones are slow without. Install the NVIDIA driver if there is a GPU."
    if program is None:
        return note("GPU", "no NVIDIA driver (nvidia-smi is missing)", mend)
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return note("GPU", f"nvidia-smi does not work: {error}", mend)
    if answer.returncode != 0 or not answer.stdout.strip():
        words = (answer.stderr or answer.stdout).strip().splitlines()
        return note("GPU", f"nvidia-smi finds none: {words[0] if words else 'no answer'}", mend)
    return good("GPU", "; ".join(answer.stdout.strip().splitlines()))
