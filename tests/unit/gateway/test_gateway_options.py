"""Every setting of a video, in the forms in which clients say it."""

from __future__ import annotations

import httpx
import pytest
from support.fake_orchestrator import Script
from visema.common.v1 import common_pb2
from visema.orchestrator.v1 import avatars_pb2, jobs_pb2
from visema_gateway.core.options import FRAME_RATES, AppearanceOptions, VideoOptions

FILES = {"image": ("p.jpg", b"\xff\xd8\xff picture"), "audio": ("a.wav", b"RIFF speech")}
VALUES = {
    "quality": "high",
    "size_px": 256,
    "frame_rate": 30,
    "engine": "embedded",
    "framing": "face",
    "face": 1,
    "blinks_per_minute": 12.5,
    "head_motion": 0.5,
    "breathing": 0,
    "gaze_wander": 2,
    "expression": "warm",
    "expression_strength": 0.25,
    "mouth_strength": 1.25,
    "speech_motion": 0.75,
    "seed": 7,
    "crf": 20,
    "title": "Good morning",
}


def last_spec(script: Script) -> jobs_pb2.JobSpec:
    return [request for request in script.seen if isinstance(request, jobs_pb2.CreateJobRequest)][-1].spec


@pytest.mark.parametrize("name", VideoOptions.model_fields)
async def test_a_form_and_json_say_every_setting_alike(web: httpx.AsyncClient, script: Script, name: str) -> None:
    reply = await web.post("/generate", files=FILES, data={name: str(VALUES[name])})
    assert reply.status_code == 202, reply.text
    of_form = last_spec(script)
    ids = {
        field: (await web.post("/v1/uploads", files={kind: FILES[field]})).json()["id"]
        for field, kind in (("image", "portrait"), ("audio", "audio"))
    }
    reply = await web.post("/v1/jobs", json={**ids, "settings": {name: VALUES[name]}})
    assert reply.status_code == 202, reply.text
    assert of_form == last_spec(script)
    reply = await web.post("/generate", files=FILES)
    assert reply.status_code == 202, reply.text
    assert of_form != last_spec(script)


async def test_standard_quality_is_what_nobody_asked_for(web: httpx.AsyncClient, script: Script) -> None:
    for wish in ({}, {"quality": "standard"}):
        assert (await web.post("/generate", files=FILES, data=wish)).status_code == 202
    plain, standard = [request.spec for request in script.seen if isinstance(request, jobs_pb2.CreateJobRequest)]
    assert plain == standard


@pytest.mark.parametrize("path", ["/avatar/upload", "/v1/avatars"])
@pytest.mark.parametrize("name", VideoOptions.model_fields)
async def test_an_avatar_takes_what_it_uses_and_refuses_the_rest_by_name(
    web: httpx.AsyncClient, script: Script, path: str, name: str
) -> None:
    image = {"image": FILES["image"]}
    reply = await web.post(path, files=image, data={"name": "Anna", name: str(VALUES[name])})
    if name not in AppearanceOptions.model_fields:
        assert (reply.status_code, reply.json()["field"]) == (400, name)
        assert name in reply.json()["detail"]
        return
    assert reply.status_code < 300, reply.text
    assert (await web.post(path, files=image, data={"name": "Anna"})).status_code < 300
    asked = [request.spec for request in script.seen if isinstance(request, avatars_pb2.CreateAvatarRequest)]
    assert asked[0] != asked[1]


@pytest.mark.parametrize(("asked", "loop"), [("1.5", False), ("0", True)])
async def test_a_video_whose_head_follows_the_speech_is_no_loop(
    web: httpx.AsyncClient, script: Script, asked: str, loop: bool
) -> None:
    reply = await web.post("/generate", files=FILES, data={"speech_motion": asked})
    assert reply.status_code == 202, reply.text
    motion = last_spec(script).motion
    assert (motion.speech_motion, motion.HasField("loop")) == (float(asked), not loop)
    assert not motion.loop


async def test_following_beyond_its_range_is_refused_by_name(web: httpx.AsyncClient) -> None:
    reply = await web.post("/generate", files=FILES, data={"speech_motion": "2.5"})
    assert (reply.status_code, reply.json()["field"]) == (422, "speech_motion")


@pytest.mark.parametrize("rate", FRAME_RATES)
async def test_a_form_may_name_every_frame_rate(web: httpx.AsyncClient, script: Script, rate: int) -> None:
    reply = await web.post("/generate", files=FILES, data={"frame_rate": str(rate)})
    assert reply.status_code == 202, reply.text
    assert last_spec(script).frame_rate == common_pb2.FrameRate(numerator=rate, denominator=1)


@pytest.mark.parametrize("rate", ["23", "25.5", "fast"])
async def test_other_frame_rates_are_refused_by_name(web: httpx.AsyncClient, rate: str) -> None:
    reply = await web.post("/generate", files=FILES, data={"frame_rate": rate})
    assert (reply.status_code, reply.json()["field"]) == (422, "frame_rate")
