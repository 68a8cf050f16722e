"""What would make everybody wait is done before the first request: the gateway's loop answers hundreds of clients."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydantic
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from support.gateway import process
from visema_gateway.api import about, avatars, files, simple, v1

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
# Writes down how many objects collections leave alone, and whether what serves streams is loaded, when it serves.
PROGRAM = """
import asyncio, gc, json, os, sys
from pathlib import Path
from visema_gateway import server
from visema_gateway.__main__ import main

settle = server.settle

def and_note():
    settle()
    streams = any(name.startswith("anyio._backends.") for name in sys.modules)
    Path(os.environ["NOTES"]).write_text(json.dumps([gc.get_freeze_count(), streams]))

server.settle = and_note
asyncio.run(main())
"""


def functions_of(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for needed in dependant.dependencies:
        yield from functions_of(needed)


def waits_for_a_thread(function: object) -> bool:
    call = function if inspect.isroutine(function) else type(function).__call__
    return not (inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call))


def test_no_request_waits_for_a_thread_of_its_own() -> None:
    routers = (simple.router, avatars.router, v1.router, about.router, files.make_router())
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 30
    in_threads = {
        function for route in routes for function in functions_of(route.dependant) if waits_for_a_thread(function)
    }
    assert not in_threads


async def test_the_first_request_finds_all_routes_made(web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    make = pydantic.TypeAdapter.__init__

    def note(adapter: pydantic.TypeAdapter[object], kind: object, **options: object) -> None:
        made.append(kind)
        make(adapter, kind, **options)

    monkeypatch.setattr(pydantic.TypeAdapter, "__init__", note)
    assert (await web.get("/nothing")).status_code == 404
    assert (await web.get("/openapi.json")).status_code == 200
    assert not made


def test_a_process_that_serves_has_loaded_everything_and_settled(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with process("127.0.0.1:1", tmp_path, program=("-c", PROGRAM), NOTES=str(notes)) as (_, running):
        running.terminate()
        assert running.wait(PATIENCE_S) == 0
    settled, can_stream = json.loads(notes.read_text())
    assert settled > 50_000  # FastAPI, pydantic, SQLAlchemy and grpc
    assert can_stream
