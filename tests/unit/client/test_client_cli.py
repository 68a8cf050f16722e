"""The `visema` command line as a process, against the fake orchestrator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import visema
from support.fake_orchestrator import Script
from visema_kit.errors import NoFaceFound, QueueFull, Unauthenticated, VisemaError


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.jpg"
    path.write_bytes(b"picture")
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(b"speech")
    return path


def test_generate_writes_the_video_and_shows_the_times(
    fake_address: str, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "folder" / "out.mp4"
    done = visema("generate", portrait, speech, "-o", output, "--server", fake_address)
    assert done.returncode == 0, done.stderr
    assert output.stat().st_size == 320_000
    assert "DEGRADED" in done.stdout
    assert "quality 87 of 100: lips +20 ms, follow the sound 0.78" in done.stdout
    assert "note: The mouth does not close in pauses." in done.stdout
    assert "3.50 s" in done.stdout
    assert "wav2lip" in done.stdout


def test_json_is_one_object_and_the_only_thing_on_stdout(
    fake_address: str, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    done = visema("generate", portrait, speech, "-o", tmp_path / "o.mp4", "--server", fake_address, "--json")
    answer = json.loads(done.stdout)
    assert answer["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert answer["degraded"] is True
    assert answer["job"]["report"]["quality"]["score"] == 87
    assert not done.stderr


def test_settings_reach_the_server(fake_address: str, script: Script, portrait: Path, speech: Path) -> None:
    options = ["--seed", 7, "--blinks", 0, "--size", 256, "--fps", 30, "--face", "largest", "--framing", "face"]
    done = visema("generate", portrait, speech, *options, "-o", portrait.parent / "o.mp4", VISEMA_SERVER=fake_address)
    assert done.returncode == 0, done.stderr
    spec = next(request.spec for request in script.seen if hasattr(request, "spec"))
    assert (spec.motion.seed, spec.size_px, spec.frame_rate.numerator) == (7, 256, 30)
    assert spec.motion.HasField("blinks_per_minute")
    assert spec.face.largest


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (NoFaceFound("the picture shows no face"), 2, "human face"),
        (QueueFull("the queue is full"), 6, "later"),
        (Unauthenticated("the token is not known"), 5, "--token"),
    ],
)
def test_errors_are_one_sentence_with_a_hint_and_a_status(
    fake_address: str, script: Script, portrait: Path, *, error: VisemaError, status: int, hint: str
) -> None:
    script.faults["CreateJob"] = [error] * 10
    command = ["generate", portrait, portrait, "-o", portrait.parent / "o.mp4", "--server", fake_address]
    done = visema(*command)
    assert done.returncode == status
    assert str(error) in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    script.faults["CreateJob"] = [error] * 10
    as_json = visema(*command, "--json")
    assert as_json.returncode == status
    assert json.loads(as_json.stdout)["error"]["reason"] == error.reason


def test_mistakes_are_found_before_anything_is_started(portrait: Path, speech: Path, tmp_path: Path) -> None:
    missing = visema("generate", tmp_path / "missing.jpg", speech)
    assert missing.returncode == 2
    assert "missing.jpg: No such file" in missing.stderr
    neither = visema("generate", portrait)
    assert neither.returncode == 2
    assert "--text" in neither.stderr
    wrong = visema("generate", portrait, speech, "--face", "left")
    assert wrong.returncode == 2
    assert "largest" in wrong.stderr


def test_without_a_server_there_is_a_hint() -> None:
    done = visema("jobs", "list", "--server", "127.0.0.1:1")
    assert done.returncode == 3
    assert "no VISEMA server answers at 127.0.0.1:1" in done.stderr
    assert visema("jobs", "list", VISEMA_SERVER="").returncode == 2


def test_jobs_are_listed_shown_watched_cancelled_and_deleted(fake_address: str, portrait: Path, speech: Path) -> None:
    server = ["--server", fake_address]
    visema("generate", portrait, speech, "-o", portrait.parent / "o.mp4", *server)
    assert "succeeded" in visema("jobs", "list", *server).stdout
    assert json.loads(visema("jobs", "list", "--state", "failed", "--json", *server).stdout) == {"jobs": []}
    assert "job-000" in visema("jobs", "show", "job-000", *server).stdout
    watched = visema("jobs", "watch", "job-000", "-o", portrait.parent / "again.mp4", *server)
    assert watched.returncode == 0, watched.stderr
    assert (portrait.parent / "again.mp4").stat().st_size == 320_000
    assert visema("jobs", "cancel", "job-000", *server).returncode == 0
    assert json.loads(visema("jobs", "delete", "job-000", "--json", *server).stdout) == {"deleted": "job-000"}
    assert visema("jobs", "show", "job-000", *server).returncode == 4


def test_avatars_are_created_listed_shown_and_deleted(fake_address: str, portrait: Path) -> None:
    server = ["--server", fake_address]
    made = visema("avatars", "create", portrait, "--name", "Ada [x]", "--json", *server)
    assert json.loads(made.stdout)["avatar"]["state"] == "AVATAR_STATE_READY"
    assert "avatar-0" in visema("avatars", "list", *server).stdout
    assert "Ada [x]" in visema("avatars", "show", "avatar-0", *server).stdout
    assert visema("avatars", "delete", "avatar-0", *server).returncode == 0
    assert visema("avatars", "show", "avatar-0", *server).returncode == 4


def test_an_interrupt_cancels_the_job_and_ends_with_130(
    fake_address: str, script: Script, portrait: Path, speech: Path
) -> None:
    script.endless = True
    process = subprocess.Popen(
        [sys.executable, "-m", "visema_client", "generate", portrait, speech, "--server", fake_address],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not script.calls["WatchJob"] and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert script.calls["CancelJob"] == 1


def test_help_does_not_wait_for_heavy_imports() -> None:
    code = (
        "import sys; from visema_client.cli import app; "
        "print({'grpc', 'numpy', 'av', 'cv2', 'rich.progress', 'google.protobuf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_command_has_help() -> None:
    listed = visema("--help").stdout
    for name in ("generate", "demo", "up", "doctor", "jobs", "avatars", "models"):
        assert name in listed
        assert visema(name, "--help").returncode == 0


def test_doctor_names_at_least_eight_checks_and_mends() -> None:
    done = visema("doctor", "--no-stack", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["can_run"] else 1)
    assert len(answer["checks"]) >= 8
    assert all(check["mend"] for check in answer["checks"] if check["verdict"] != "good")


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    # An interpreter that sees neither the installed packages' records nor weed.
    blind = "import importlib.metadata as m, sys\n"
    blind += "real = m.version\n"
    blind += "m.version = lambda n: (_ for _ in ()).throw(m.PackageNotFoundError(n)) if n == 'av' else real(n)\n"
    blind += "sys.argv = ['visema', 'doctor', '--no-stack']\n"
    blind += "from visema_client.cli import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", blind], capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
    )
    assert done.returncode == 1
    assert "missing: av" in done.stdout
    assert "pip install" in done.stdout
