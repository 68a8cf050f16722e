"""What was tried to make a video sooner: each way is a stack of its own, and a round measures all of them in turn.

Usage: python bench/tuning.py [ROUNDS]     (3 without an argument; each takes about four minutes)

A way is a set of the services' settings, or cores that their processes are kept on. A row of the table holds medians
over all rounds: seconds from the call to the readable result, without and with a prepared avatar, as ratios to the
default of the same round, and the share of storage in the stages' busy time (without).
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import visema_client
from visema_client import VideoSettings, Visema
from visema_client.cli.bench import FIRST_SEED, Run, measured
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
VIDEOS = 3
KIB = 1024


@dataclass(frozen=True, slots=True)
class Way:
    """Something to try.

    Attributes:
        variables: Settings that differ from the default.
        cores: Process name to the core that it is kept on.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    cores: Mapping[str, int] = field(default_factory=dict)


WAYS = {
    "default": Way(),
    "segments of 0.5 s": Way({"VISEMA_SEGMENT_S": "0.5"}),
    "segments of 2 s": Way({"VISEMA_SEGMENT_S": "2"}),
    "JPEG 95": Way({"VISEMA_SEGMENT_CODEC": "jpeg95"}),
    "JPEG 98": Way({"VISEMA_SEGMENT_CODEC": "jpeg98"}),
    "lossless segments": Way({"VISEMA_SEGMENT_CODEC": "lossless"}),
    "x264 with 1 thread": Way({"VISEMA_ENCODER_THREADS": "1"}),
    "x264 with 4 threads": Way({"VISEMA_ENCODER_THREADS": "4"}),
    "each stage on one core": Way(cores={"liveportrait": 0, "encoder": 0, "wav2lip": 1, "orchestrator": 1}),
    "malloc as glibc starts": Way(
        {
            "MALLOC_ARENA_MAX": str(8 * (os.cpu_count() or 1)),
            "MALLOC_MMAP_THRESHOLD_": str(128 * KIB),
            "MALLOC_TRIM_THRESHOLD_": str(128 * KIB),
            "MALLOC_TOP_PAD_": str(128 * KIB),
        }
    ),
}


def keep_on_core(pid: int, core: int) -> None:
    """Keep a process, with the threads that it has now and those that they start, on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def measure(way: Way) -> tuple[list[Run], list[Run]]:
    """Unprepared and prepared videos on a fresh stack."""
    options = StackOptions(variables={"VISEMA_ENGINE": "embedded", **way.variables})
    with LocalStack(options) as stack, Visema(stack.address) as client:
        for name, core in way.cores.items():
            keep_on_core(stack.pids[name], core)

        def make(seed: int) -> Run:
            settings = VideoSettings(face="largest", seed=seed)
            started_s = time.monotonic()
            job = client.generate(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", settings=settings).job
            return measured(job, time.monotonic() - started_s)

        make(FIRST_SEED)  # warms caches; not counted
        return [make(FIRST_SEED + 1 + number) for number in range(VIDEOS)], [make(FIRST_SEED) for _ in range(VIDEOS)]


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ratios: dict[str, list[tuple[float, float]]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        usual = (1.0, 1.0)
        for name, way in WAYS.items():
            kinds = measure(way)
            wall_s = tuple(statistics.median(run.wall_s for run in runs) for runs in kinds)
            if name == "default":
                usual = (wall_s[0], wall_s[1])
            ratios[name].append((wall_s[0] / usual[0], wall_s[1] / usual[1]))
            shares[name].append(statistics.median(run.storage_share for run in kinds[0]))
            print(f"{name}: {wall_s[0]:.2f} s and {wall_s[1]:.2f} s", file=sys.stderr, flush=True)
    print("| tried | unprepared | prepared | storage's share |")
    print("|---|---:|---:|---:|")
    for name, of_name in ratios.items():
        unprepared, prepared = (statistics.median(column) for column in zip(*of_name, strict=True))
        print(f"| {name} | {unprepared:.2f} | {prepared:.2f} | {statistics.median(shares[name]):.3f} |")


if __name__ == "__main__":
    main()
