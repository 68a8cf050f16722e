"""What the gateway keeps apart, and what it keeps over a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import visema_client
from support.gateway import process
from visema_client.localstack import LocalStack, StackOptions

SAMPLES = Path(visema_client.__file__).parent / "samples"
TOKENS = {"first-token-0123456789": "first", "other-token-0123456789": "other"}

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]


def portrait() -> dict[str, tuple[str, bytes]]:
    return {"image": ("p.jpg", (SAMPLES / "portrait.jpg").read_bytes())}


def test_a_person_without_a_face_and_a_wrong_file_are_told_so(web: httpx.Client) -> None:
    speech = ("a.wav", (SAMPLES / "speech.wav").read_bytes())
    reply = web.post("/generate", files={"image": ("x.jpg", b"not a picture"), "audio": speech})
    assert (reply.status_code, reply.json()["reason"]) == (422, "MEDIA_UNREADABLE")
    reply = web.post("/generate", files=portrait() | {"audio": ("x.wav", b"#EXTM3U\nhttp://x/")})
    assert reply.status_code in {415, 422}
    assert reply.json()["field"] == "audio"


def test_another_body_with_the_same_key_is_a_conflict(web: httpx.Client) -> None:
    speech = {"audio": ("a.wav", (SAMPLES / "speech.wav").read_bytes())}
    key = {"Idempotency-Key": "conflict-1"}
    first = web.post("/generate", files=portrait() | speech, headers=key)
    again = web.post("/generate", files=portrait() | speech, headers=key)
    other = web.post("/generate", files=portrait() | speech, headers=key, data={"seed": "7"})
    assert first.json()["session_id"] == again.json()["session_id"]
    assert (other.status_code, other.json()["reason"]) == (409, "REQUEST_ID_REUSED")
    web.post(f"/v1/jobs/{first.json()['session_id']}/cancel")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, running_stack: LocalStack) -> Iterator[LocalStack]:
    """A stack that asks for tokens, with its own gateway."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.json"
    tokens.write_text(json.dumps(TOKENS))
    variables = {"VISEMA_ENGINE": "embedded", "VISEMA_TOKENS_FILE": str(tokens)}
    with LocalStack(StackOptions(gateway_port=0, variables=variables, start_timeout_s=180)) as stack:
        yield stack


def test_two_tenants_never_see_each_others_things(guarded: LocalStack) -> None:
    with httpx.Client(base_url=guarded.url, timeout=60, trust_env=False) as web:
        assert web.get("/avatar").status_code == 401
        assert web.get("/avatar").headers["www-authenticate"] == "Bearer"
        first, other = ({"Authorization": f"Bearer {token}"} for token in TOKENS)
        made = web.post("/avatar/upload", files=portrait(), data={"name": "Anna"}, headers=first).json()
        avatar = web.get("/v1/avatars", headers=first).json()["avatars"][0]["id"]
        speech = {"audio": ("a.wav", (SAMPLES / "speech.wav").read_bytes())}
        job = web.post("/generate", files=portrait() | speech, headers=first).json()["session_id"]
        upload = web.post("/v1/uploads", files={"audio": speech["audio"]}, headers=first).json()["id"]
        assert web.get(f"/status/{job}", headers=first).status_code == 200  # the gateway knows it from here on
        assert web.get("/avatar", headers=other).json() == []
        assert web.get("/v1/jobs", headers=other).json()["jobs"] == []
        for path in (f"/avatar/{made['id']}/image", f"/avatar/{made['id']}/animations", f"/v1/avatars/{avatar}"):
            assert web.get(path, headers=other).status_code == 404
        for path in (f"/status/{job}", f"/download/{job}", f"/v1/jobs/{job}", f"/v1/jobs/{job}/events"):
            assert web.get(path, headers=other).status_code == 404
        assert web.delete(f"/v1/avatars/{avatar}", headers=other).status_code == 404
        stolen = web.post("/v1/jobs", json={"avatar_id": avatar, "audio": upload}, headers=other)
        assert stolen.status_code in {403, 404}
        web.post(f"/v1/jobs/{job}/cancel", headers=first)


def test_history_and_avatars_survive_a_restart_of_the_gateway(stack: str, tmp_path: Path) -> None:
    def look(url: str) -> tuple[object, object, object]:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as web:
            avatars = [(avatar["id"], avatar["name"]) for avatar in web.get("/avatar").json()]
            number = next(number for number, name in avatars if name == "Before")
            animations = [(entry["id"], entry["avatarId"]) for entry in web.get(f"/avatar/{number}/animations").json()]
            return avatars, animations, [job["id"] for job in web.get("/v1/jobs").json()["jobs"]]

    with process(stack, tmp_path) as (url, _), httpx.Client(base_url=url, timeout=60, trust_env=False) as web:
        number = web.post("/avatar/upload", files=portrait(), data={"name": "Before"}).json()["id"]
        speech = {"audio": ("a.wav", (SAMPLES / "speech.wav").read_bytes())}
        assert web.post("/avatar/animate", files=speech, data={"avatarId": number}).status_code == 200
        before = look(url)
    with process(stack, tmp_path) as (url, _):
        assert look(url) == before
