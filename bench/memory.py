"""Does a long video cost more memory than a short one? Peak memory of every service after a job of each length.

Usage: python bench/memory.py [SECONDS …]     (5 and 60 without arguments)

Each length gets a local stack of its own with embedded engines, which makes the sample's video twice: the peak
(`VmHWM`) is the process's since its start, so what is loaded once is in both columns. The speech is the sample's,
repeated.
"""

from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

import visema_client
from visema_client import Visema
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
ROUNDS = 2


def speech(seconds: int) -> bytes:
    """The sample's speech, repeated up to a length."""
    with wave.open(str(SAMPLES / "speech.wav"), "rb") as source:
        form, samples = source.getparams(), source.readframes(source.getnframes())
    size = seconds * form.framerate * form.nchannels * form.sampwidth
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as target:
        target.setparams(form)
        target.writeframes((samples * (size // len(samples) + 1))[:size])
    return buffer.getvalue()


def peak_mib(pid: int) -> float:
    """Largest resident size of a process since its start."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def peaks_mib(seconds: int) -> dict[str, float]:
    """Peaks by service after jobs of one length on a fresh stack."""
    options = StackOptions(variables={"VISEMA_ENGINE": "embedded"})
    with LocalStack(options) as stack, Visema(stack.address) as client:
        for _ in range(ROUNDS):
            client.generate(SAMPLES / "portrait.jpg", speech(seconds))
        return {name: peak_mib(pid) for name, pid in stack.pids.items()}


def main() -> None:
    lengths = [int(argument) for argument in sys.argv[1:]] or [5, 60]
    measured = {seconds: peaks_mib(seconds) for seconds in lengths}
    first, last = lengths[0], lengths[-1]
    print("| peak MiB |", " | ".join(f"{seconds} s" for seconds in lengths), f"| {last} s ÷ {first} s |")
    print("|---|" + "---:|" * (len(lengths) + 1))
    for name in measured[first]:
        row = [measured[seconds][name] for seconds in lengths]
        print(f"| {name} |", " | ".join(f"{value:.0f}" for value in row), f"| {row[-1] / row[0]:.2f} |")


if __name__ == "__main__":
    main()
