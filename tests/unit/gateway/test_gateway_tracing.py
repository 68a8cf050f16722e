"""Where a collector is set, each HTTP request is a server span between its caller's and the orchestrator's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from support.fake_orchestrator import FakeOrchestrator, Script
from support.gateway import serving
from visema_kit.errors import Unavailable

PATIENCE_S = 60.0  # for what must happen: a limit for hangs, not for speed
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the gateway's spans by their names."""

    def __init__(self) -> None:
        self.spans: dict[str, trace_pb2.Span] = {}

    async def Export(self, request, context):  # noqa: ARG002, N802
        for resource in request.resource_spans:
            sender = {item.key: item.value.string_value for item in resource.resource.attributes}
            assert sender["service.name"] == "visema-gateway"
            for scope in resource.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[str, Collector]]:
    """A running collector: its URL and itself."""
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}", collector
    finally:
        await server.stop(0)


def attributes(span: trace_pb2.Span) -> dict[str, str | int]:
    """What a span says of its request."""
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


async def test_a_request_is_a_span_between_its_callers_and_the_orchestrators(
    orchestrator: tuple[str, FakeOrchestrator], script: Script, tmp_path: Path
) -> None:
    script.faults["GetAvatar"] = [Unavailable("away")]
    headers = {"Traceparent": f"00-{TRACE}-{SPAN}-01"}
    async with collecting() as (endpoint, collector):
        async with (
            serving(orchestrator[0], tmp_path, otlp_endpoint=endpoint) as url,
            httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False, headers=headers) as web,
        ):
            assert (await web.get("/v1/jobs")).status_code == 200
            (passed_on,) = script.traces
            assert (await web.get("/v1/avatars/anna")).status_code == 503
        spans = collector.spans  # all of them: a gateway that ends sends what is left
    listed, failed = spans["GET /v1/jobs"], spans["GET /v1/avatars/{avatar_id}"]
    assert (listed.trace_id.hex(), listed.parent_span_id.hex()) == (TRACE, SPAN)
    assert passed_on == f"00-{TRACE}-{listed.span_id.hex()}-01"
    assert listed.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert attributes(listed) == {
        "http.request.method": "GET",
        "http.route": "/v1/jobs",
        "http.response.status_code": 200,
    }
    assert attributes(failed)["http.response.status_code"] == 503
    assert listed.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
