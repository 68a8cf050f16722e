"""Settings of the orchestrator, beyond those of every service."""

from __future__ import annotations

import socket
from pathlib import Path

from pydantic import Field
from visema_kit.database import url_with_driver
from visema_kit.settings import ServiceSettings
from visema_media.limits import MEBIBYTE, MediaLimits

from visema_orchestrator.retry import RetryPolicy

DAY_S = 86_400.0


class OrchestratorSettings(ServiceSettings):
    """What the orchestrator reads from its environment."""

    liveportrait_address: str = Field(min_length=1, description="`host:port` of stage 1.")
    wav2lip_address: str = Field(min_length=1, description="`host:port` of stage 2.")
    encoder_address: str = Field(min_length=1, description="`host:port` of stage 3.")
    speech_address: str = Field(default="", description="`host:port` of the speech service; empty: no text jobs.")
    database_url: str = Field(
        default="sqlite:///visema.db",
        pattern=r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$",
        repr=False,
        description="`sqlite:///file`, or `postgresql://…` when several orchestrators share the jobs.",
    )
    executor_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of this process, the same after a restart; default: the host's name.",
    )
    tokens_file: Path | None = Field(
        default=None, description="JSON file with tokens and their tenants; without it everybody is one tenant."
    )
    grace_s: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="Seconds that calls get to finish after SIGTERM; jobs go on after the restart, watchers come back.",
    )
    job_slots: int = Field(default=2, ge=1, le=256, description="Jobs that this process runs at once.")
    queue_limit: int = Field(default=64, ge=0, le=100_000, description="Jobs that may wait, over all processes.")
    job_timeout_s: float = Field(
        default=900.0,
        gt=0,
        description="Longest time that a step of a job (its audio, its pipeline) may take; a restart counts anew.",
    )
    check_timeout_s: float = Field(default=30.0, gt=0, description="Longest time that checks of CreateJob may take.")
    stage_patience_s: float = Field(
        default=180.0,
        ge=0,
        description="Time after which a stage that does not answer, or finds no object store, fails the job.",
    )
    max_in_flight: int = Field(default=4, ge=1, le=64, description="Segments that a stage may get ahead.")
    image_max_bytes: int = Field(default=5 * MEBIBYTE, ge=1, description="Largest picture file.")
    audio_max_bytes: int = Field(default=25 * MEBIBYTE, ge=1, description="Largest audio file.")
    audio_min_s: float = Field(default=0.2, gt=0, description="Shortest audio.")
    audio_max_s: float = Field(default=60.0, gt=0, description="Longest audio.")
    result_lifetime_s: float = Field(default=7 * DAY_S, gt=0, description="Time after which results are deleted.")
    media_lifetime_s: float = Field(default=7 * DAY_S, gt=0, description="Time after which unused uploads are deleted.")
    loop_lifetime_s: float = Field(default=7 * DAY_S, gt=0, description="Time after which unused loops are deleted.")
    download_lifetime_s: int = Field(default=3600, ge=1, le=604_800, description="Validity of download addresses.")
    upload_lifetime_s: int = Field(default=3600, ge=1, le=604_800, description="Validity of upload addresses.")
    sweep_interval_s: float = Field(default=300.0, gt=0, description="Time between two sweeps of expired objects.")
    heartbeat_s: float = Field(
        default=4.0, gt=0, description="Time between two signs of life; after four missed ones jobs are taken over."
    )

    @property
    def media_limits(self) -> MediaLimits:
        """Limits for pictures and audio."""
        return MediaLimits(
            image_bytes=self.image_max_bytes,
            audio_bytes=self.audio_max_bytes,
            audio_min_s=self.audio_min_s,
            audio_max_s=self.audio_max_s,
        )

    @property
    def retry_policy(self) -> RetryPolicy:
        """How faults of stages are answered."""
        return RetryPolicy(patience_s=self.stage_patience_s)

    @property
    def domain_url(self) -> str:
        """URL of our own tables, with the driver."""
        return url_with_driver(self.database_url)

    @property
    def workflow_url(self) -> str:
        """URL of the tables of DBOS: a file beside ours (two writers in one SQLite file wait for each other), or a
        schema of the same PostgreSQL database.
        """
        return self.domain_url + "-workflows" if self.domain_url.startswith("sqlite") else self.domain_url
