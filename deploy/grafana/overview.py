"""Do jobs meet their target, where does their time go, and what is wrong?"""

from __future__ import annotations

from typing import Final

from grafana.panels import Dashboard, Panel, Query, Row
from grafana.promql import quantile

GOOD_UPWARDS: Final = ((None, "red"), (0.95, "orange"), (0.99, "green"))
BAD_UPWARDS: Final = ((None, "green"), (1.0, "red"))
BURN: Final = ((None, "green"), (1.0, "orange"), (6.0, "red"))
SUCCEEDED: Final = '{outcome="succeeded"}'
WITHIN: Final = 'visema_job_target_ratio_bucket{le="1.0"}'

OVERVIEW: Final = Dashboard(
    uid="visema-overview",
    title="VISEMA: Overview / SLO",
    help="Do jobs meet their target, where does their time go, and what is wrong?",
    rows=[
        Row(
            "Objective: 99 % of jobs within max(3.5 s, 0.7 × video seconds)",
            [
                Panel(
                    "Jobs within their target",
                    [Query(f"sum({WITHIN}) / sum(visema_job_target_ratio_count)", "since the services started")],
                    "Finished jobs within their target among all finished jobs, since the orchestrators started.",
                    kind="stat",
                    unit="percentunit",
                    width=6,
                    height=5,
                    limits=GOOD_UPWARDS,
                ),
                Panel(
                    "Burn rate, one hour",
                    [Query("visema:job_target_miss:ratio_rate1h / 0.01", "times the budget")],
                    "1 uses up exactly the month's budget; 14 uses up 2 % of it in an hour and wakes somebody.",
                    kind="stat",
                    width=4,
                    height=5,
                    limits=BURN,
                ),
                Panel(
                    "Jobs",
                    [Query("sum by (outcome) (visema_job_duration_seconds_count)", "{{outcome}}")],
                    "Ended jobs by outcome, since the orchestrators started.",
                    kind="stat",
                    width=6,
                    height=5,
                ),
                Panel(
                    "Waiting",
                    [Query("visema:queue_jobs:max", "jobs")],
                    "Jobs that wait for a free slot.",
                    kind="stat",
                    width=4,
                    height=5,
                    limits=((None, "green"), (10.0, "orange"), (50.0, "red")),
                ),
                Panel(
                    "Degraded engines",
                    [Query('count(visema_engine_info{degraded="true"} == 1) or vector(0)', "replicas")],
                    "Replicas that run an engine because the better one cannot run there.",
                    kind="stat",
                    width=4,
                    height=5,
                    limits=BAD_UPWARDS,
                ),
            ],
        ),
        Row(
            "Jobs",
            [
                Panel(
                    "Job duration",
                    [
                        Query(quantile(0.5, "visema_job_duration_seconds", where=SUCCEEDED), "p50"),
                        Query(quantile(0.95, "visema_job_duration_seconds", where=SUCCEEDED), "p95"),
                        Query(quantile(0.99, "visema_job_duration_seconds", where=SUCCEEDED), "p99"),
                        Query(
                            'max(visema_slo_target_seconds{stage="total"})', "target up to 5 s of video", is_target=True
                        ),
                    ],
                    "From a job's start to its end. The red line is the target of jobs with up to 5 s of video.",
                    unit="s",
                    width=12,
                ),
                Panel(
                    "Duration divided by target",
                    [
                        Query(quantile(0.5, "visema_job_target_ratio", "prepared"), "p50, prepared {{prepared}}"),
                        Query(quantile(0.95, "visema_job_target_ratio", "prepared"), "p95, prepared {{prepared}}"),
                        Query("vector(1)", "target", is_target=True),
                    ],
                    "For videos of any length; below 1 is in time. Prepared: stage 1 had been rendered before.",
                    width=12,
                ),
                Panel(
                    "Share within target",
                    [
                        Query(
                            f"sum(rate({WITHIN}[$__rate_interval]))"
                            " / sum(rate(visema_job_target_ratio_count[$__rate_interval]))",
                            "now",
                        ),
                        Query("1 - visema:job_target_miss:ratio_rate1h", "one hour"),
                        Query("vector(0.99)", "objective", is_target=True),
                    ],
                    "What the burn-rate alerts look at.",
                    unit="percentunit",
                    maximum=1,
                ),
                Panel(
                    "Critical path of a job",
                    [
                        Query(
                            "sum by (part) (rate(visema_job_critical_path_seconds_total[$__rate_interval]))"
                            " / scalar(sum(rate(visema_job_duration_seconds_count"
                            '{outcome="succeeded"}[$__rate_interval])))',
                            "{{part}}",
                        )
                    ],
                    "Mean seconds of a job by what it waited for. Stages overlap: only these parts add up.",
                    unit="s",
                    stacked=True,
                ),
                Panel(
                    "Durations of jobs",
                    [
                        Query(
                            f"sum by (le) (increase(visema_job_duration_seconds_bucket{SUCCEEDED}[$__rate_interval]))",
                            "{{le}}",
                        )
                    ],
                    "How many jobs took how long.",
                    kind="heatmap",
                    unit="s",
                ),
                Panel(
                    "Quality score",
                    [
                        Query(quantile(0.5, "visema_job_quality_score", "engine"), "p50 {{engine}}"),
                        Query(quantile(0.05, "visema_job_quality_score", "engine"), "p5 {{engine}}"),
                    ],
                    "Of 100, of each job's quality report; docs/quality.md explains it.",
                    maximum=100,
                ),
            ],
        ),
        Row(
            "Trouble",
            [
                Panel(
                    "Queue",
                    [
                        Query("visema:queue_jobs:max", "waiting"),
                        Query("sum(visema_running_jobs)", "running"),
                    ],
                    "Jobs that wait and jobs that are being computed, over all orchestrators.",
                ),
                Panel(
                    "Failed jobs by reason",
                    [
                        Query(
                            "sum by (reason) (rate(visema_job_errors_total[$__rate_interval])) or vector(0)",
                            "{{reason}}",
                        )
                    ],
                    "Reasons are explained in docs/errors.md.",
                    unit="ops",
                    stacked=True,
                ),
                Panel(
                    "Refused and failed calls by code",
                    [
                        Query(
                            'sum by (code) (rate(visema_rpc_duration_seconds_count{code!="OK"}[$__rate_interval]))',
                            "{{code}}",
                        )
                    ],
                    "INVALID_ARGUMENT is the callers' business, RESOURCE_EXHAUSTED means full, INTERNAL is a defect.",
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    "Object store errors by reason",
                    [
                        Query(
                            "sum by (reason) (rate(visema_object_store_errors_total[$__rate_interval])) or vector(0)",
                            "{{reason}}",
                        )
                    ],
                    "STORE_UNAVAILABLE is the store's fault, OBJECT_MISMATCH a caller's.",
                    unit="ops",
                ),
                Panel(
                    "Share of degraded replicas",
                    [
                        Query(
                            '(sum by (stage) (visema_engine_info{degraded="true"})'
                            " or sum by (stage) (visema_engine_info) * 0)"
                            " / sum by (stage) (visema_engine_info)",
                            "{{stage}}",
                        )
                    ],
                    "Replicas whose better engine cannot run there.",
                    unit="percentunit",
                    maximum=1,
                ),
                Panel(
                    "Targets that answer",
                    [Query('sum by (component) (up{job="visema"})', "{{component}}")],
                    "Replicas that Prometheus reaches.",
                ),
            ],
        ),
    ],
)
