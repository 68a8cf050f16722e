"""The orchestrator with the real stage services as processes of their own, on a real portrait and real speech."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import av
import pytest
from harness import Client, environment, no_temporary_objects, orchestrator_here
from stage_fakes import STAGE_NAMES, FakeStages
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_kit.objects import StoreConfig

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here"),
]


@pytest.fixture(scope="module")
def real_addresses(s3_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of the three services with their embedded engines."""
    folder = tmp_path_factory.mktemp("stages")
    variables = {
        "VISEMA_ENGINE": "embedded",
        "VISEMA_S3_ENDPOINT": s3_server.endpoint,
        "VISEMA_S3_ACCESS_KEY": s3_server.access_key,
        "VISEMA_S3_SECRET_KEY": s3_server.secret_key,
        "VISEMA_S3_BUCKET": s3_server.bucket,
        "VISEMA_S3_REGION": s3_server.region,
        "VISEMA_GRACE_S": "1",
        "OMP_NUM_THREADS": "1",
    }
    processes = {}
    with ExitStack() as stack:
        for name in STAGE_NAMES:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"visema_{name}"],
                env={**os.environ, **variables, "VISEMA_PORT_FILE": str(folder / f"{name}.json")},
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            processes[name] = process
        addresses = {}
        for name, process in processes.items():
            port_file = folder / f"{name}.json"
            while not port_file.exists():
                assert process.poll() is None, (folder / f"{name}.log").read_text()[-2000:]
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
            addresses[name] = json.loads(port_file.read_text())["grpc"]
        yield addresses


@pytest.fixture
def real_variables(
    real_addresses: dict[str, str], object_store, store_config: StoreConfig, tmp_path: Path
) -> dict[str, str]:
    stages = FakeStages(object_store, addresses=real_addresses)
    return environment(stages, store_config, f"sqlite:///{tmp_path}/visema.db", metrics_listen="off", grace_s=1)


async def ready(client: Client, avatar: avatars_pb2.Avatar) -> avatars_pb2.Avatar:
    async with asyncio.timeout(120):
        while avatar.state == avatars_pb2.AVATAR_STATE_PREPARING:
            await asyncio.sleep(0.1)
            request = avatars_pb2.GetAvatarRequest(avatar_id=avatar.avatar_id)
            avatar = (await client.avatars.GetAvatar(request)).avatar
    return avatar


async def test_a_portrait_and_speech_become_a_video_and_an_avatar_is_prepared(
    real_variables: dict[str, str], store_config: StoreConfig, tmp_path: Path
) -> None:
    async with orchestrator_here(real_variables) as address:
        client = Client(address)
        portrait = await client.portrait((SAMPLES / "portrait_astronaut_smile.png").read_bytes())
        audio = await client.upload((SAMPLES / "speech_en_5s.wav").read_bytes(), 2)
        job = await client.create(jobs_pb2.JobSpec(portrait=portrait, audio=audio))
        ended = await client.wait(job.job_id, 120)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        stages = {stage.stage: stage for stage in ended.report.stages}
        started = stages["encoder"].first_segment_offset.ToNanoseconds()
        assert started < stages["wav2lip"].last_segment_offset.ToNanoseconds()

        url = (await client.get(job.job_id)).result.download_url
        path = tmp_path / "video.mp4"
        path.write_bytes(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()))
        with av.open(str(path)) as video:
            frames = sum(1 for _ in video.decode(video=0))
        assert frames == ended.result.frame_count
        await no_temporary_objects(store_config, job.job_id)

        request = avatars_pb2.CreateAvatarRequest(spec=avatars_pb2.AvatarSpec(portrait=portrait))
        avatar = await ready(client, (await client.avatars.CreateAvatar(request)).avatar)
        assert avatar.state == avatars_pb2.AVATAR_STATE_READY, avatar.error
        again = await client.wait(
            (await client.create(jobs_pb2.JobSpec(avatar_id=avatar.avatar_id, audio=audio))).job_id, 120
        )
        assert again.state == jobs_pb2.JOB_STATE_SUCCEEDED, again.error
        assert again.report.prepared
        (tmp_path / "report.txt").write_text(f"{ended.report}\n=== prepared\n{again.report}")
        await client.close()


@pytest.mark.parametrize(
    ("picture", "reason"), [("not_a_human_face_cat.jpg", "NO_FACE_FOUND"), ("two_faces.jpg", "SEVERAL_FACES")]
)
async def test_pictures_without_one_face_are_refused_at_once(
    real_variables: dict[str, str], picture: str, reason: str
) -> None:
    import grpc
    from harness import reason_of

    async with orchestrator_here(real_variables) as address:
        client = Client(address)
        portrait = await client.portrait((SAMPLES / picture).read_bytes())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.create(jobs_pb2.JobSpec(portrait=portrait, audio=await client.audio()))
        assert reason_of(caught.value) == reason
        await client.close()
