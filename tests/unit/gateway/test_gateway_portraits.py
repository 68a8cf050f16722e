"""What a picture shows, before an avatar or a video is made of it."""

from __future__ import annotations

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema_kit.errors import MediaUnreadable, NoFaceFound, VisemaError

PICTURE = {"image": ("p.jpg", b"\xff\xd8\xff picture")}


async def test_a_picture_is_answered_with_its_faces_and_what_is_wrong_with_the_largest(
    web: httpx.AsyncClient, orchestrator: tuple[str, FakeOrchestrator]
) -> None:
    reply = await web.post("/v1/portraits/inspect", files=PICTURE)
    assert reply.status_code == 200
    assert reply.json() == {
        "width_px": 800,
        "height_px": 600,
        "faces": [
            {"left_px": 50.0, "top_px": 100.0, "width_px": 200.0, "height_px": 250.0},
            {"left_px": 450.0, "top_px": 100.0, "width_px": 200.0, "height_px": 250.0},
        ],
        "selected": 1,
        "flaws": ["turned"],
        "warnings": ["The face is turned."],
    }
    asked = orchestrator[1].script.seen[-1]
    assert asked.face.largest
    assert orchestrator[1].objects[asked.portrait.key] == PICTURE["image"][1]
    assert orchestrator[1].script.calls["CreateAvatar"] == 0


@pytest.mark.parametrize(
    ("error", "status"), [(NoFaceFound("nobody", field="portrait"), 422), (MediaUnreadable("broken"), 422)]
)
async def test_a_picture_that_cannot_be_used_is_refused_as_a_job_would_be(
    web: httpx.AsyncClient, script: Script, error: VisemaError, status: int
) -> None:
    script.faults["Inspect"] = [error]
    reply = await web.post("/v1/portraits/inspect", files=PICTURE)
    assert (reply.status_code, reply.json()["reason"]) == (status, error.reason)
    assert reply.headers["content-type"] == "application/problem+json"


async def test_only_one_picture_is_taken(web: httpx.AsyncClient) -> None:
    for files, data in ((None, {"image": "text"}), (PICTURE, {"face": "largest"})):
        reply = await web.post("/v1/portraits/inspect", files=files, data=data)
        assert reply.status_code in {400, 415, 422}
