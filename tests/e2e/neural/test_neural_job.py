"""A whole job on the official networks, with synthetic weights that came in through `visema models import`."""

from __future__ import annotations

import time
import wave
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import av
import numpy as np
import pytest
from typer.testing import CliRunner
from visema_client import JobCancelled, VideoSettings, Visema
from visema_client.cli.demo import SAMPLES
from visema_client.localstack import LocalStack, LocalStackError, StackOptions
from visema_client.localstack.seaweed import find_weed
from visema_client.models_cli import app as models

pytest.importorskip("torch", reason="the neural engines need torch")

from support.official_weights import write_official_file
from visema_kit.checkpoints import LIVEPORTRAIT, WAV2LIP
from visema_kit.checkpoints_store import file_sha256

pytestmark = [
    pytest.mark.neural,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("stack"),
    pytest.mark.timeout(900),  # the first test also pays for importing every network
]
SIZE_PX = 256
FRAME_RATE = 24
FRAMES = 5  # 0.21 s: the shortest speech is 0.2 s
FRAMES_TO_CANCEL = 9  # enough that it cannot end before it is told to
LICENSE = "wav2lip-noncommercial"


def import_weights(*arguments: object) -> None:
    """`visema models import`, in this process: torch is loaded already."""
    done = CliRunner().invoke(models, ["import", *map(str, arguments)])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint folder with all networks, imported file by file on the command line."""
    published, imported = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("imported")
    for model in (LIVEPORTRAIT, WAV2LIP):
        for file in model.files:
            path = write_official_file(published, file)
            import_weights(
                model.name, path, "--folder", imported,
                "--sha256", file_sha256(path), "--accept-licenses", LICENSE,
            )  # fmt: skip
            path.unlink()
    yield imported
    for path in imported.rglob("*.safetensors"):
        path.unlink()


@pytest.fixture(scope="module")
def neural_stack(checkpoints: Path) -> Iterator[LocalStack]:
    """Every service in a process of its own, told to be neural, with short loops and segments."""
    try:
        find_weed()
    except LocalStackError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    variables = {
        "VISEMA_ENGINE": "neural",
        "VISEMA_DEVICE": "cpu",
        "VISEMA_CHECKPOINT_DIR": str(checkpoints),
        "VISEMA_ACCEPT_LICENSES": LICENSE,
        "VISEMA_LOOP_S": "0.4",
        "VISEMA_SEGMENT_S": "0.1",
    }
    with LocalStack(StackOptions(variables=variables, start_timeout_s=300)) as stack:
        yield stack


@pytest.fixture
def client(neural_stack: LocalStack) -> Iterator[Visema]:
    with Visema(neural_stack.address) as client:
        yield client


def short_speech(folder: Path, frames: int) -> Path:
    """Sound of the sample speech for so many frames, from where somebody speaks."""
    path = folder / f"{frames}.wav"
    with wave.open(str(SAMPLES / "speech.wav"), "rb") as speech, wave.open(str(path), "wb") as short:
        short.setparams(speech.getparams())
        speech.setpos(speech.getframerate())
        short.writeframes(speech.readframes(frames * speech.getframerate() // FRAME_RATE))
    return path


def decoded(video: Path) -> tuple[np.ndarray, list[float]]:
    """Frames as uint8 (N, H, W, 3) and the seconds at which they are shown."""
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    return np.stack([frame.to_ndarray(format="bgr24") for frame in frames]), [frame.time or 0.0 for frame in frames]


def served(stack: LocalStack, service: str, line: str) -> float:
    """The value of a metric of a service; 0 where there is none yet."""
    with urlopen(stack.services[service].metrics_url, timeout=30) as reply:
        text = reply.read().decode()
    return sum(float(sample.rsplit(" ", 1)[1]) for sample in text.splitlines() if sample.startswith(line))


def test_a_job_on_neural_engines_is_whole_in_time_and_finite(client: Visema, tmp_path: Path) -> None:
    settings = VideoSettings(size_px=SIZE_PX, frame_rate=FRAME_RATE)
    video = client.generate(SAMPLES / "portrait.jpg", short_speech(tmp_path, FRAMES), settings=settings, timeout_s=600)
    engines = {stage.stage: stage.report.engine for stage in video.job.report.stages}
    assert engines["liveportrait"].name == "liveportrait"
    assert engines["wav2lip"].name == "wav2lip"
    for stage in video.job.report.stages:
        assert not stage.report.engine.degraded, stage
        assert not stage.report.warnings, stage  # every frame shows the face, so both networks painted all of them
        assert stage.report.frame_count == FRAMES
    for name in ("liveportrait", "wav2lip"):
        assert len(engines[name].weights_sha256) == 64
    frames, times = decoded(video.save(tmp_path / "neural.mp4"))
    assert frames.shape == (FRAMES, SIZE_PX, SIZE_PX, 3)
    assert video.job.result.frame_count == FRAMES
    np.testing.assert_allclose(times, np.arange(FRAMES) / FRAME_RATE, atol=1e-4)
    # A NaN becomes one count everywhere; these weights paint a texture that differs from frame to frame.
    face = frames[:, SIZE_PX // 3 : 2 * SIZE_PX // 3, SIZE_PX // 3 : 2 * SIZE_PX // 3].astype(float)
    assert (face.std(axis=(1, 2, 3)) > 5).all()
    assert (np.abs(np.diff(face, axis=0)).mean(axis=(1, 2, 3)) > 0).all()


def test_a_cancelled_neural_job_ends_and_frees_its_stages(
    client: Visema, neural_stack: LocalStack, tmp_path: Path
) -> None:
    settings = VideoSettings(size_px=SIZE_PX, frame_rate=FRAME_RATE, seed=77)  # not in the store yet
    speech = short_speech(tmp_path, FRAMES_TO_CANCEL)
    job = client.create_job(client.job_spec(SAMPLES / "portrait.jpg", speech, settings=settings))
    for event in client.watch_job(job.job_id):
        if any(stage.progress.frames_done for stage in event.job.stages):
            break
    client.cancel_job(job.job_id)
    with pytest.raises(JobCancelled):
        client.wait_job(job.job_id, timeout_s=120)
    cancelled = 'visema_stage_duration_seconds_count{engine="liveportrait",outcome="cancelled"'
    deadline = time.monotonic() + 120
    while not served(neural_stack, "liveportrait", cancelled):
        assert time.monotonic() < deadline, "the stage goes on with the cancelled job"
        time.sleep(0.1)
    for service in ("liveportrait", "wav2lip"):
        neural_stack.check()
        while served(neural_stack, service, "visema_inflight{"):
            assert time.monotonic() < deadline, f"{service} is not free"
            time.sleep(0.1)
