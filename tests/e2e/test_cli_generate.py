"""The command line against the whole real stack."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from support.command_line import visema
from visema_client import Visema
from visema_client.cli.demo import SAMPLES

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "samples"


def frame_count(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_sdk_makes_a_video_with_every_frame(client: Visema, tmp_path: Path) -> None:
    video = client.generate(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", timeout_s=200)
    video.save(tmp_path / "out.mp4")
    assert frame_count(tmp_path / "out.mp4") == video.job.result.frame_count == 125


def test_generate_uses_a_server_and_prints_json(stack: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    done = visema(
        "generate", SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", "-o", output, "--server", stack, "--json",
        "--size", 256, "--fps", 30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"]["result"]["frame_count"] == "150"
    assert frame_count(output) == 150
    assert "succeeded" in visema("jobs", "list", "--server", stack).stdout


def test_an_avatar_speaks(stack: str, tmp_path: Path) -> None:
    made = visema("avatars", "create", SAMPLES / "portrait.jpg", "--size", 256, "--json", "--server", stack)
    assert made.returncode == 0, made.stderr
    avatar_id = json.loads(made.stdout)["avatar"]["avatar_id"]
    output = tmp_path / "out.mp4"
    done = visema("generate", f"avatar:{avatar_id}", SAMPLES / "speech.wav", "-o", output, "--json", "--server", stack)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"]["report"]["prepared"] is True
    assert visema("avatars", "delete", avatar_id, "--server", stack).returncode == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not beside the repository")
@pytest.mark.parametrize(
    ("picture", "speech", "reason"),
    [
        ("not_a_human_face_cat.jpg", "speech_en_5s.wav", "NO_FACE_FOUND"),
        ("two_faces.jpg", "speech_en_5s.wav", "SEVERAL_FACES"),
        ("speech_en_5s.wav", "speech_en_5s.wav", "MEDIA_NOT_ALLOWED"),
    ],
)
def test_bad_input_is_named_with_its_reason(stack: str, tmp_path: Path, picture: str, speech: str, reason: str) -> None:
    output = tmp_path / "out.mp4"
    done = visema("generate", SHARED / picture, SHARED / speech, "-o", output, "--server", stack, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["reason"] == reason
    assert not output.exists()


def test_demo_starts_and_stops_a_stack_of_its_own(tmp_path: Path) -> None:
    done = visema("demo", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert frame_count(tmp_path / "out" / "demo.mp4") == 125
    job = json.loads((tmp_path / "out" / "demo.json").read_text())["job"]
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["report"]["quality"]["score"] >= 90
    assert f"quality {job['report']['quality']['score']} of 100" in done.stdout
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")
    for expected in ("3.50 s", "2.00 s", "1.00 s", "0.50 s", "demo.mp4", "demo.json", "demo.png"):
        assert expected in done.stdout


def test_up_serves_until_an_interrupt_and_keeps_its_jobs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "visema_client", "up", "--port", "0", "--state", str(state), "--json"]

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        text = ""
        while not text.rstrip().endswith("\n}"):
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait(60)}: {text}"
            text += line
        return process, json.loads(text)["server"]

    def stop(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()
        assert process.returncode == 0

    process, address = start()
    try:
        with Visema(address) as client:
            job_id = client.generate(SAMPLES / "portrait.jpg", SAMPLES / "speech.wav", timeout_s=200).job.job_id
        stop(process)
        process, address = start()
        with Visema(address) as client:
            video = client.wait_job(job_id, timeout_s=60)
            assert len(video.read()) == video.job.result.video.size_bytes
        stop(process)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    pattern = re.escape(str(state))
    while re.search(pattern, _command_lines()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not re.search(pattern, _command_lines())


def _command_lines() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return "\n".join(lines)
