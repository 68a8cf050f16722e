"""The routes in front of an orchestrator in memory."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from support.fake_orchestrator import FakeOrchestrator, Script
from visema_kit.errors import NoFaceFound, QueueFull, StageUnavailable

PICTURE = b"\xff\xd8\xff picture"
PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
FILES = {"image": ("p.jpg", PICTURE), "audio": ("a.wav", b"RIFF speech")}


async def make(web: httpx.AsyncClient, **options: str) -> str:
    reply = await web.post("/generate", files=FILES, data=options)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["session_id"])


async def ended(web: httpx.AsyncClient, job_id: str) -> dict[str, object]:
    async with asyncio.timeout(PATIENCE_S):
        while (status := (await web.get(f"/status/{job_id}")).json())["status"] == "processing":
            await asyncio.sleep(0.02)
    return dict(status)


async def test_generate_status_and_download_have_the_promised_shapes(web: httpx.AsyncClient) -> None:
    reply = await web.post("/generate", files=FILES)
    job_id = reply.json()["session_id"]
    assert reply.json() == {"session_id": job_id, "status": "processing", "download_url": f"/download/{job_id}"}
    status = await ended(web, job_id)
    assert status["status"] == "completed"
    assert (status["percent"], status["engine"], status["degraded"]) == (100, "embedded", True)
    assert set(status["stages"]) == {"liveportrait", "wav2lip", "encoder"}
    assert (status["quality"]["score"], status["quality"]["lag_ms"]) == (87, 20)
    assert status["quality"]["warnings"] == ["The mouth does not close in pauses."]
    whole = await web.get(f"/download/{job_id}")
    assert whole.headers["content-type"] == "video/mp4"
    assert len(whole.content) == int(whole.headers["content-length"]) == 320_000
    part = await web.get(f"/download/{job_id}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == "bytes 100-199/320000"
    tail = await web.get(f"/download/{job_id}", headers={"Range": "bytes=-5"})
    assert tail.content == whole.content[-5:]
    assert (await web.get(f"/download/{job_id}", headers={"Range": "bytes=999999-"})).status_code == 416
    assert (await web.get(f"/download/{job_id}", headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    head = await web.head(f"/download/{job_id}")
    assert (head.headers["content-length"], head.content) == ("320000", b"")


async def test_the_session_log_is_json_lines_with_the_report_last(web: httpx.AsyncClient) -> None:
    job_id = await make(web)
    await ended(web, job_id)
    lines = [json.loads(line) for line in (await web.get(f"/download/{job_id}/log")).text.splitlines()]
    assert [line["event"] for line in lines][-2:] == ["job_end", "job_report"]
    assert lines[-1]["job"]["video"]["frames"] == 50
    assert lines[-1]["job"]["quality"]["score"] == 87


async def test_an_unfinished_video_is_a_conflict(web: httpx.AsyncClient, script: Script) -> None:
    script.endless = True
    job_id = await make(web)
    reply = await web.get(f"/download/{job_id}")
    assert (reply.status_code, reply.json()["reason"]) == (409, "PRECONDITION_FAILED")
    assert (await web.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
    status = await ended(web, job_id)
    assert (status["status"], status["error"]["reason"]) == ("error", "CANCELLED")


async def test_events_arrive_in_order_and_go_on_after_the_last_one_seen(web: httpx.AsyncClient) -> None:
    job_id = await make(web)
    await ended(web, job_id)
    whole = (await web.get(f"/v1/jobs/{job_id}/events")).text
    numbers = [int(line[4:]) for line in whole.splitlines() if line.startswith("id: ")]
    assert numbers == sorted(set(numbers))
    assert whole.count("event: end") == 1
    rest = (await web.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(numbers[2])})).text
    assert [int(line[4:]) for line in rest.splitlines() if line.startswith("id: ")] == numbers[3:]


async def test_many_watchers_cost_the_orchestrator_one(
    web: httpx.AsyncClient, script: Script, orchestrator: tuple[str, FakeOrchestrator]
) -> None:
    script.endless = True
    job_id = await make(web)
    begun = [asyncio.Event() for _ in range(30)]

    async def watched(first: asyncio.Event) -> list[str]:
        lines = []
        async with web.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
            async for line in reply.aiter_lines():
                if not line.startswith(":"):  # whether it says that it is still there depends on the time
                    lines.append(line)
                first.set()
        return lines

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        streams = [group.create_task(watched(first)) for first in begun]
        polls = [group.create_task(web.get(f"/status/{job_id}")) for _ in range(60)]
        await asyncio.gather(*polls, *(first.wait() for first in begun))
        orchestrator[1].jobs[job_id].state = 5
        orchestrator[1].cancelled.set()
    assert script.calls["WatchJob"] == 1
    assert script.calls["GetJob"] <= 2
    assert {poll.result().status_code for poll in polls} == {200}
    assert all(stream.result() == streams[0].result() for stream in streams)


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fetc%2Fpasswd", "..%5C..%5Cetc", "%2e%2e%2f%2e%2e%2fetc", "a%00b", "%2Fetc"]
)
@pytest.mark.parametrize(
    "path",
    [
        "/status/{}",
        "/download/{}",
        "/v1/jobs/{}",
        "/v1/jobs/{}/video",
        "/v1/avatars/{}/image",
        "/avatar/{}/image",
        "/page/{}",
    ],
)
async def test_names_in_urls_lead_nowhere(web: httpx.AsyncClient, script: Script, path: str, name: str) -> None:
    reply = await web.get(path.format(name))
    assert reply.status_code in {404, 422}
    assert not script.calls  # nobody behind the gateway was asked


async def test_the_same_idempotency_key_makes_one_job(web: httpx.AsyncClient) -> None:
    first, second = [
        (await web.post("/generate", files=FILES, headers={"Idempotency-Key": "k-1"})).json() for _ in range(2)
    ]
    assert first["session_id"] == second["session_id"]


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (NoFaceFound("no face", field="spec.portrait"), 422, None),
        (QueueFull("full", retry_after_s=7), 429, "7"),
        (StageUnavailable("away"), 503, "1"),
    ],
)
async def test_errors_are_problem_details_with_reason_and_request_id(
    web: httpx.AsyncClient, script: Script, error: Exception, status: int, retry: str | None
) -> None:
    script.faults["CreateJob"] = [error]
    reply = await web.post("/generate", files=FILES, headers={"X-Request-ID": "mine-1"})
    problem = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, problem["status"], problem["reason"]) == (status, status, error.reason)
    assert problem["request_id"] == reply.headers["x-request-id"] == "mine-1"
    assert reply.headers.get("retry-after") == retry


async def test_avatars_have_integer_ids_and_absolute_urls(web: httpx.AsyncClient) -> None:
    made = (await web.post("/avatar/upload", files={"image": FILES["image"]}, data={"name": "Ann"})).json()
    base = str(web.base_url).rstrip("/")
    assert made["id"] == 1
    assert (made["name"], made["imageUrl"]) == ("Ann", f"{base}/avatar/1/image")
    (listed,) = (await web.get("/avatar")).json()
    assert set(listed) == {"id", "name", "imageUrl", "description", "createdAt", "updatedAt"}
    assert (await web.get(made["imageUrl"])).content == PICTURE
    reply = await web.post("/avatar/animate", json={"avatarId": 1, "text": "Hello"})
    animation = reply.json()
    assert set(animation) == {"id", "avatarId", "audioUrl", "videoUrl", "text", "status", "createdAt"}
    assert (animation["videoUrl"], animation["status"]) == ("", "processing")
    async with asyncio.timeout(PATIENCE_S):
        while animation["status"] != "completed":
            await asyncio.sleep(0.02)
            animation = (await web.get(f"/avatar/animations/{animation['id']}/status")).json()
    assert animation["videoUrl"] == f"{base}/avatar/animations/1/video"
    assert (await web.get(animation["videoUrl"])).status_code == 200
    spoken = await web.post("/avatar/animate", files={"audio": FILES["audio"]}, data={"avatarId": "1"})
    assert spoken.json()["id"] == 2
    assert (await web.get("/avatar/99/animations")).json()["reason"] == "AVATAR_NOT_FOUND"


async def test_v1_makes_a_job_of_uploads_and_lists_in_pages(web: httpx.AsyncClient) -> None:
    ids = {}
    for kind, name in (("portrait", "image"), ("audio", "audio")):
        reply = await web.post("/v1/uploads", files={kind: FILES[name]})
        assert reply.status_code == 201
        ids[name] = reply.json()["id"]
    for _ in range(3):
        reply = await web.post("/v1/jobs", json={**ids, "settings": {"size_px": 256, "quality": "high"}})
        assert reply.status_code == 202, reply.text
    first = (await web.get("/v1/jobs", params={"page_size": 2})).json()
    second = (await web.get("/v1/jobs", params={"page_size": 2, "page_token": first["next_page_token"]})).json()
    found = [job["id"] for job in [*first["jobs"], *second["jobs"]]]
    assert len(set(found)) == 3
    assert second["next_page_token"] == ""
    assert (await web.delete(f"/v1/jobs/{found[0]}")).status_code == 204
    assert (await web.get(f"/v1/jobs/{found[0]}")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"image": "x"},
        {"image": "AAAA", "text": "hi"},
        {"avatar_id": "../../etc", "text": "hi"},
        {"avatar_id": "a", "text": "hi", "audio": "b"},
        {"avatar_id": "a", "text": "   "},
        {"avatar_id": "a", "text": "hi", "settings": {"size_px": 257}},
        {"avatar_id": "a", "text": "hi", "unknown": 1},
    ],
)
async def test_wrong_jobs_are_refused_in_words(web: httpx.AsyncClient, body: dict[str, object]) -> None:
    reply = await web.post("/v1/jobs", json=body)
    assert reply.status_code in {400, 422}
    assert reply.json()["detail"]


async def test_tokens_are_passed_on_and_scopes_see_only_their_own(web: httpx.AsyncClient, script: Script) -> None:
    for token in ("a" * 20, "b" * 20):
        reply = await web.post(
            "/avatar/upload",
            files={"image": FILES["image"]},
            data={"name": token},
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": token},
        )
        assert reply.json()["id"] == 1  # each counts for itself
    assert script.tokens == {f"Bearer {'a' * 20}", f"Bearer {'b' * 20}"}


async def test_a_path_that_means_two_things_is_never_answered_from_a_cache(web: httpx.AsyncClient) -> None:
    pictures = {f"Bearer {name * 20}": PICTURE + name.encode() for name in "ab"}
    etag = ""
    for token, picture in pictures.items():
        headers = {"Authorization": token}
        await web.post("/avatar/upload", files={"image": ("p.jpg", picture)}, data={"name": "x"}, headers=headers)
        replies = [
            await web.get("/avatar/1/image", headers=headers | more)
            for more in ({"If-None-Match": etag}, {"Range": "bytes=0-3"}, {"Range": "bytes=999-"})
        ]
        assert [reply.status_code for reply in replies] == [200, 206, 416]
        assert replies[0].content == picture
        etag = replies[0].headers["etag"]
        replies.append(await web.get("/avatar/1/image", headers=headers | {"If-None-Match": etag}))
        assert replies[-1].status_code == 304
        for reply in replies:
            assert "authorization" in reply.headers["vary"].lower()
            assert "no-cache" in reply.headers["cache-control"]


async def test_pages_carry_a_strict_policy_and_load_nothing_from_elsewhere(web: httpx.AsyncClient) -> None:
    start = await web.get("/")
    assert "default-src 'none'" in start.headers["content-security-policy"]
    assert "unsafe" not in start.headers["content-security-policy"]
    for path in ("/", "/page/main.js", "/page/style.css", "/page/words.js", "/api"):
        reply = await web.get(path)
        assert reply.status_code == 200
        assert "http://" not in reply.text.replace("http://www.w3.org", "")
        assert "https://" not in reply.text
    assert (await web.get("/page/..%2F__init__.py")).status_code == 404
    assert (await web.get("/api/swagger-ui-bundle.js")).status_code == 200
