"""How much runs, how much more would fit, and what is the bottleneck."""

from __future__ import annotations

from typing import Final

from grafana.panels import Dashboard, Panel, Query, Row
from grafana.promql import quantile

CAPACITY: Final = Dashboard(
    uid="visema-capacity",
    title="VISEMA: Capacity",
    help="How much runs, how much more would fit, and what is the bottleneck.",
    rows=[
        Row(
            "Demand",
            [
                Panel(
                    "Jobs per minute",
                    [
                        Query(
                            "sum by (outcome) (rate(visema_job_duration_seconds_count[$__rate_interval])) * 60",
                            "{{outcome}}",
                        )
                    ],
                    "Ended jobs.",
                ),
                Panel(
                    "Waiting time before a job starts",
                    [
                        Query(quantile(0.5, "visema_job_queue_seconds"), "p50"),
                        Query("visema:job_queue_seconds:p90_10m", "p90, ten minutes"),
                    ],
                    "What autoscaling looks at.",
                    unit="s",
                ),
                Panel(
                    "Running and waiting jobs",
                    [
                        Query("sum by (instance) (visema_running_jobs)", "running at {{instance}}"),
                        Query("visema:queue_jobs:max", "waiting"),
                    ],
                    "Slots in use per orchestrator; slots are VISEMA_JOB_SLOTS each.",
                    stacked=True,
                ),
            ],
        ),
        Row(
            "Supply",
            [
                Panel(
                    "Replicas",
                    [Query("count by (service, version) (visema_build_info)", "{{service}} {{version}}")],
                    "Also shows how far an upgrade has come.",
                ),
                Panel(
                    "Busy share of a replica",
                    [
                        Query(
                            "sum by (stage, instance) (rate(visema_stage_compute_seconds_sum[$__rate_interval]))",
                            "{{stage}} {{instance}}",
                        )
                    ],
                    "Seconds of computing in a second. Near 1 the stage is the bottleneck; encoders have workers.",
                    unit="percentunit",
                ),
                Panel(
                    "Real-time factor",
                    [
                        Query("visema:job_realtime_factor:p50_5m", "p50 {{engine}}, prepared {{prepared}}"),
                        Query("visema:job_realtime_factor:p95_5m", "p95 {{engine}}, prepared {{prepared}}"),
                    ],
                    "Seconds of work for a second of video.",
                ),
                Panel(
                    "Calls that found no room",
                    [
                        Query(
                            "sum by (method) (rate(visema_rpc_duration_seconds_count"
                            '{code="RESOURCE_EXHAUSTED"}[$__rate_interval]))'
                            " or vector(0)",
                            "{{method}}",
                        )
                    ],
                    "DEVICE_BUSY of stages and QUEUE_FULL of the orchestrator.",
                    unit="reqps",
                ),
                Panel(
                    "Frames per second and stage",
                    [Query("sum by (stage) (stage:visema_frames:rate5m)", "{{stage}}")],
                    "Five-minute mean.",
                    unit="fps",
                ),
                Panel(
                    "Object store operations",
                    [
                        Query(
                            "sum by (operation) (rate(visema_object_store_seconds_count[$__rate_interval]))",
                            "{{operation}}",
                        )
                    ],
                    "Per second, over all services.",
                    unit="ops",
                ),
            ],
        ),
        Row(
            "Machines",
            [
                Panel(
                    "Processor",
                    [
                        Query(
                            'sum by (component) (rate(process_cpu_seconds_total{job="visema"}[$__rate_interval]))',
                            "{{component}}",
                        )
                    ],
                    "Cores in use.",
                ),
                Panel(
                    "Memory",
                    [
                        Query(
                            'max by (component, instance) (process_resident_memory_bytes{job="visema"})',
                            "{{component}} {{instance}}",
                        )
                    ],
                    "Resident memory of each process; constant in the length of videos.",
                    unit="bytes",
                ),
                Panel(
                    "Accelerator memory",
                    [
                        Query(
                            "max by (instance, device) (visema_gpu_memory_bytes) or vector(0)",
                            "{{instance}} {{device}}",
                        ),
                        Query("visema:gpu_memory_limit:bytes", "limit", is_target=True),
                    ],
                    "The limit is a recording rule: set it to the memory of your cards.",
                    unit="bytes",
                ),
            ],
        ),
    ],
)
