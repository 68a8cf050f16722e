"""Does anything grow with the number of jobs? Memory, file descriptors and leftovers after some and after many jobs.

Usage: python bench/endurance.py [JOBS]     (50 without an argument)

One local stack with embedded engines makes a second of video again and again; every fifth has a motion of its own, for
which nothing is stored yet. Figures are read when the first fifth of the jobs is done and when all are: what is loaded
or opened once is in both.
"""

from __future__ import annotations

import io
import json
import sys
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import minio
import visema_client
from visema_client import VideoSettings, Visema
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
SPEECH_S = 1
CLEANING_S = 10.0  # a job's objects go right after its end


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process holds. Attributes: rss_mib: resident memory; fds: open files and sockets."""

    rss_mib: float
    fds: int

    @classmethod
    def of(cls, pid: int) -> Figures:
        """Read now."""
        status = Path(f"/proc/{pid}/status").read_text()
        return cls(int(status.partition("VmRSS:")[2].split()[0]) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def speech() -> bytes:
    """The beginning of the sample's speech."""
    with wave.open(str(SAMPLES / "speech.wav"), "rb") as source:
        form, samples = source.getparams(), source.readframes(SPEECH_S * source.getframerate())
    with wave.open(buffer := io.BytesIO(), "wb") as target:
        target.setparams(form)
        target.writeframes(samples)
    return buffer.getvalue()


def leftovers(stack: LocalStack) -> int:
    """Temporary objects and scratch files that are still there when the cleaning should be over."""
    keys = json.loads((stack.folder / "credentials.json").read_text())
    client = minio.Minio(stack.store_endpoint.removeprefix("http://"), **keys, secure=False, region="us-east-1")
    give_up = time.monotonic() + CLEANING_S
    while True:
        objects = list(client.list_objects("visema", "jobs/", recursive=True))
        files = [path for path in (stack.folder / "tmp").rglob("*") if path.is_file()]
        if not objects + files or time.monotonic() > give_up:
            return len(objects) + len(files)
        time.sleep(0.1)


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    some, content, read = max(1, jobs // 5), speech(), {}
    options = StackOptions(variables={"VISEMA_ENGINE": "embedded"})
    with LocalStack(options) as stack, Visema(stack.address) as client:
        for number in range(1, jobs + 1):
            seed = number if number % 5 == 0 else 0
            client.generate(SAMPLES / "portrait.jpg", content, settings=VideoSettings(seed=seed))
            if number in {some, jobs}:
                left = leftovers(stack)
                read[number] = {name: Figures.of(pid) for name, pid in stack.pids.items()}
    print(f"| after jobs | RSS MiB {some} | {jobs} | files and sockets {some} | {jobs} |")
    print("|---|---:|---:|---:|---:|")
    for name, before in read[some].items():
        after = read[jobs][name]
        print(f"| {name} | {before.rss_mib:.0f} | {after.rss_mib:.0f} | {before.fds} | {after.fds} |")
    print(f"\n{left} temporary objects and scratch files are left")


if __name__ == "__main__":
    main()
