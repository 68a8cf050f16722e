"""What each stage does with its time."""

from __future__ import annotations

from typing import Final

from grafana.panels import Dashboard, Panel, Query, Row, Variable
from grafana.promql import mean, quantile

STAGE: Final = '{stage=~"$stage"}'
STAGE_OK: Final = '{stage=~"$stage", outcome="ok"}'

STAGE_DETAIL: Final = Dashboard(
    uid="visema-stages",
    title="VISEMA: Stage detail",
    help="What each stage does with its time.",
    variables=[Variable("stage", "label_values(visema_stage_duration_seconds_count, stage)")],
    rows=[
        Row(
            "Time",
            [
                Panel(
                    "Duration",
                    [
                        Query(quantile(0.5, "visema_stage_duration_seconds", "stage", STAGE_OK), "{{stage}} p50"),
                        Query(quantile(0.95, "visema_stage_duration_seconds", "stage", STAGE_OK), "{{stage}} p95"),
                        Query(quantile(0.99, "visema_stage_duration_seconds", "stage", STAGE_OK), "{{stage}} p99"),
                        Query(f"max by (stage) (visema_slo_target_seconds{STAGE})", "{{stage}} target", is_target=True),
                    ],
                    "Whole calls, waiting for the stage before included. Dashed: targets for 5 s of video.",
                    unit="s",
                    width=12,
                    height=9,
                ),
                Panel(
                    "First segment",
                    [
                        Query(quantile(0.5, "visema_stage_first_segment_seconds", "stage", STAGE), "{{stage}} p50"),
                        Query(quantile(0.95, "visema_stage_first_segment_seconds", "stage", STAGE), "{{stage}} p95"),
                    ],
                    "Until the next stage can begin.",
                    unit="s",
                    width=12,
                    height=9,
                ),
                Panel(
                    "Computing per call",
                    [Query(mean("visema_stage_compute_seconds", "stage, engine", STAGE), "{{stage}} {{engine}}")],
                    "Mean seconds on the device.",
                    unit="s",
                ),
                Panel(
                    "Waiting per call",
                    [Query(mean("visema_stage_wait_seconds", "stage, engine", STAGE), "{{stage}} {{engine}}")],
                    "Mean seconds waiting for input, for the device or for credit.",
                    unit="s",
                ),
                Panel(
                    "Storage per call",
                    [Query(mean("visema_stage_storage_seconds", "stage, engine", STAGE), "{{stage}} {{engine}}")],
                    "Mean seconds of reading and writing objects; runs beside computing.",
                    unit="s",
                ),
            ],
        ),
        Row(
            "Work",
            [
                Panel(
                    "Frames per second",
                    [
                        Query(
                            f"sum by (stage, engine) (rate(visema_frames_total{STAGE}[$__rate_interval]))",
                            "{{stage}} {{engine}}",
                        )
                    ],
                    "Delivered frames, over all replicas.",
                    unit="fps",
                ),
                Panel(
                    "Frames per second of computing",
                    [
                        Query(
                            f"sum by (stage, engine) (rate(visema_frames_total{STAGE}[$__rate_interval]))"
                            " / sum by (stage, engine)"
                            f" (rate(visema_stage_compute_seconds_sum{STAGE}[$__rate_interval]))",
                            "{{stage}} {{engine}}",
                        )
                    ],
                    "What one device does when it has work. Loops that exist make stage 1 look infinitely fast.",
                    unit="fps",
                ),
                Panel(
                    "Batch sizes",
                    [
                        Query(mean("visema_batch_frames", "stage, engine", STAGE), "{{stage}} {{engine}} mean"),
                        Query(quantile(0.95, "visema_batch_frames", "stage", STAGE), "{{stage}} p95"),
                    ],
                    "Frames that the device computes at once. They shrink when its memory runs out.",
                    unit="none",
                ),
                Panel(
                    "Calls by outcome",
                    [
                        Query(
                            "sum by (stage, outcome)"
                            f" (rate(visema_stage_duration_seconds_count{STAGE}[$__rate_interval]))",
                            "{{stage}} {{outcome}}",
                        )
                    ],
                    "Errors and cancellations beside successes.",
                    unit="reqps",
                ),
                Panel(
                    "Hits of caches",
                    [
                        Query(
                            '(sum by (cache) (rate(visema_cache_requests_total{result="hit"}[$__rate_interval]))'
                            " or sum by (cache) (rate(visema_cache_requests_total[$__rate_interval])) * 0)"
                            " / sum by (cache) (rate(visema_cache_requests_total[$__rate_interval]))",
                            "{{cache}}",
                        )
                    ],
                    "Share of look-ups of prepared work that found it.",
                    unit="percentunit",
                    maximum=1,
                ),
                Panel(
                    "Engines",
                    [Query(f"max by (stage, engine, version, degraded) (visema_engine_info{STAGE})")],
                    "Which engine runs where, and whether it is only a fall-back.",
                    kind="table",
                ),
                Panel(
                    "Accelerator memory",
                    [
                        Query(
                            "max by (instance, device) (visema_gpu_memory_bytes) or vector(0)",
                            "{{instance}} {{device}}",
                        )
                    ],
                    "Empty on machines without an accelerator.",
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Calls and storage",
            [
                Panel(
                    "Calls being served",
                    [Query("sum by (method) (visema_inflight)", "{{method}}")],
                    "Per method, over all replicas.",
                ),
                Panel(
                    "Duration of calls, p95",
                    [Query(quantile(0.95, "visema_rpc_duration_seconds", "method"), "{{method}}")],
                    "As the server sees it.",
                    unit="s",
                ),
                Panel(
                    "Object store, p95",
                    [Query(quantile(0.95, "visema_object_store_seconds", "operation"), "{{operation}}")],
                    "Duration of operations on the object store.",
                    unit="s",
                ),
            ],
        ),
    ],
)
