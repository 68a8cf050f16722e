"""Traces go from service to service, and to a collector only where one is set."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.servicers import Script, running_rig
from visema.common.v1 import common_pb2
from visema_kit.clock import StageClock
from visema_kit.executor import DeviceThread
from visema_kit.keys import media_key
from visema_kit.objects import ObjectStore
from visema_kit.tracing import (
    OtelTracing,
    TraceContext,
    Tracing,
    current_trace,
    exemplar,
    incoming_trace,
    make_tracing,
    step,
    trace_metadata,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"{TRACE}-{SPAN}",
    ],
)
def test_a_malformed_header_is_no_trace(value: str) -> None:
    assert incoming_trace([("traceparent", value)]) is None


@pytest.mark.parametrize("sampled", [True, False])
def test_a_header_goes_out_as_it_came_in(sampled: bool) -> None:
    context = TraceContext(TRACE, SPAN, sampled)
    assert incoming_trace([("x", "y"), ("traceparent", context.traceparent())]) == context


def test_spans_nest_and_end() -> None:
    tracing = Tracing()
    with tracing.span("outer") as outer:
        with tracing.span("inner") as inner:
            assert current_trace() == inner
            assert inner.trace_id == outer.trace_id
            assert inner.span_id != outer.span_id
        assert current_trace() == outer
    assert current_trace() is None


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_calls_of_every_shape_carry_the_trace_beside_their_own_metadata(shape: str) -> None:
    assert trace_metadata() == []
    seen: list[tuple[str, str]] = []

    class Listening(Script):
        async def act(self) -> None:
            trace = current_trace()
            assert trace is not None
            seen.append((trace.trace_id, trace.span_id))

    async with running_rig(Listening()) as rig:
        with Tracing().span("job", TraceContext(TRACE, SPAN)):
            await rig.call(shape, metadata=[("x-other", "kept")])
        await rig.call(shape)
    assert seen[0][0] == TRACE
    assert seen[-1][0] != TRACE


def test_a_step_is_recorded_where_its_call_is_and_is_nothing_outside_of_calls() -> None:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing("test", "", exporter)
    with step("before"):
        assert current_trace() is None
    with tracing.span("rpc", server=True) as rpc, step("compute"):
        trace = current_trace()
        assert trace is not None
        assert trace.trace_id == rpc.trace_id
    tracing.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["compute", "rpc"]


async def test_storage_and_computing_are_steps_of_a_call(object_store: ObjectStore) -> None:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing("test", "", exporter)
    device = DeviceThread("test")
    clock = StageClock("test", common_pb2.EngineInfo())
    with tracing.span("rpc", server=True) as rpc:
        await object_store.put(media_key("default", "traced"), b"content", "text/plain")
        await clock.compute_on(device, len, "frames")
    await device.aclose()
    tracing.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert {"object store put", "compute", "rpc"} <= set(spans)
    assert {f"{span.parent.span_id:016x}" for name, span in spans.items() if name != "rpc"} == {rpc.span_id}


def test_values_are_linked_to_sampled_traces_only() -> None:
    assert exemplar() is None
    with Tracing().span("rpc", TraceContext(TRACE, SPAN)):
        assert exemplar() == {"trace_id": TRACE}
    with Tracing().span("rpc", TraceContext(TRACE, SPAN, sampled=False)):
        assert exemplar() is None


async def test_a_servicer_passes_its_callers_trace_on() -> None:
    seen: list[tuple[str, str]] = []

    class Passing(Script):
        async def act(self) -> None:
            seen.extend(trace_metadata())

    async with running_rig(Passing()) as rig:
        await rig.call("unary_unary", metadata=[("traceparent", f"00-{TRACE}-{SPAN}-01")])
    assert seen[0][1].startswith(f"00-{TRACE}-")
    assert SPAN not in seen[0][1]


def test_spans_are_recorded_below_the_callers() -> None:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing("test", "", exporter)
    with (
        tracing.span("rpc", TraceContext(TRACE, SPAN), server=True) as span,
        pytest.raises(KeyError),
        tracing.span("step"),
    ):
        raise KeyError("fault")
    tracing.close()
    step, rpc = exporter.get_finished_spans()
    assert f"{rpc.context.trace_id:032x}" == TRACE
    assert f"{rpc.parent.span_id:016x}" == SPAN
    assert f"{rpc.context.span_id:016x}" == span.span_id
    assert step.parent.span_id == rpc.context.span_id
    assert step.status.is_ok is False
    assert rpc.resource.attributes["service.name"] == "visema-test"


def test_a_caller_that_does_not_sample_is_not_recorded() -> None:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing("test", "", exporter)
    with tracing.span("rpc", TraceContext(TRACE, SPAN, sampled=False)) as span:
        assert span.trace_id == TRACE
    tracing.close()
    assert exporter.get_finished_spans() == ()


def test_without_an_endpoint_the_sdk_is_not_imported() -> None:
    program = (
        "import sys, visema_kit.server, visema_kit.tracing as t; t.make_tracing('x', ''); "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_with_an_endpoint_spans_are_recorded() -> None:
    tracing = make_tracing("test", "http://127.0.0.1:1")
    assert type(tracing) is OtelTracing
    tracing.close()
