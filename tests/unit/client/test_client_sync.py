"""The client for programs without an event loop."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support.fake_orchestrator import Script
from visema.orchestrator.v1 import jobs_pb2
from visema_client import VideoSettings, Visema
from visema_kit.errors import JobNotFound


def test_five_lines_make_a_video(fake_address: str, tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").write_bytes(b"picture")
    (tmp_path / "speech.wav").write_bytes(b"speech")
    with Visema(fake_address) as client:
        video = client.generate(tmp_path / "portrait.jpg", tmp_path / "speech.wav")
        video.save(tmp_path / "out.mp4")
        assert (tmp_path / "out.mp4").read_bytes() == video.read()


def test_iterators_work_and_can_be_left_early(fake_address: str, script: Script) -> None:
    script.endless = True
    with Visema(fake_address) as client:
        jobs = [client.create_job(jobs_pb2.JobSpec(avatar_id="a")) for _ in range(3)]
        assert [job.job_id for job in client.list_jobs(page_size=1)] == [job.job_id for job in reversed(jobs)]
        for event in client.watch_job(jobs[0].job_id):
            assert event.sequence == 1
            break
        assert client.get_job(jobs[0].job_id).state == jobs_pb2.JOB_STATE_RUNNING


def test_errors_cross_the_thread(fake_address: str) -> None:
    with Visema(fake_address) as client, pytest.raises(JobNotFound, match="no job nope"):
        client.get_job("nope")


def test_several_clients_work_at_the_same_time(fake_address: str, capfd: pytest.CaptureFixture[str]) -> None:
    clients = [Visema(fake_address) for _ in range(3)]
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda client=client: results.append(client.generate(b"picture", b"speech").poster()))
        for client in clients
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert results == [b"\xff\xd8poster"] * 6
    assert "Error" not in capfd.readouterr().err


def test_an_interrupt_cancels_the_job(fake_address: str, script: Script) -> None:
    script.endless = True
    with Visema(fake_address) as client:

        def interrupt_once_it_waits() -> None:
            deadline = time.monotonic() + 60
            while not script.calls["WatchJob"] and time.monotonic() < deadline:
                time.sleep(0.01)
            if script.calls["WatchJob"]:
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt_once_it_waits).start()
        with pytest.raises(KeyboardInterrupt):
            client.generate(b"picture", b"speech")
        assert client.get_job("job-000").state == jobs_pb2.JOB_STATE_CANCELLED


def test_settings_become_the_spec(fake_address: str) -> None:
    settings = VideoSettings(
        size_px=256, frame_rate=30, engine="embedded", framing="face", face="largest", blinks_per_minute=0, crf=0
    )
    with Visema(fake_address) as client:
        spec = client.job_spec(b"picture", text="hello", settings=settings)
    assert spec.size_px == 256
    assert (spec.frame_rate.numerator, spec.frame_rate.denominator) == (30, 1)
    assert spec.face.largest
    assert spec.motion.HasField("blinks_per_minute")
    assert spec.encoding.WhichOneof("rate_control") == "crf"
    assert spec.text.text == "hello"


def test_settings_that_are_not_given_are_left_to_the_server() -> None:
    assert not VideoSettings().job_spec().ListFields()


def test_motion_that_follows_the_speech_is_no_loop_unless_the_caller_says_so() -> None:
    following = VideoSettings(speech_motion=0.5).job_spec().motion
    assert (following.speech_motion, following.HasField("loop"), following.loop) == (0.5, True, False)
    assert not VideoSettings(speech_motion=0).job_spec().motion.HasField("loop")
    assert VideoSettings(speech_motion=1, loop=True).job_spec().motion.loop


def test_quality_and_bit_rate_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="either crf or bitrate"):
        VideoSettings(crf=18, bitrate_bps=1_000_000)
