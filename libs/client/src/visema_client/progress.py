"""How far a job is, as plain values for callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from visema.orchestrator.v1 import avatars_pb2, jobs_pb2


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one stage is.

    Attributes:
        stage: `speech`, `liveportrait`, `wav2lip` or `encoder`.
        frames_done: Frames that are done.
        frames_total: Frames in all; 0 while it is not known.
    """

    stage: str
    frames_done: int
    frames_total: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        job_id: Which job.
        state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        percent: Overall progress, 0 to 100.
        stages: Progress of each stage that has begun.
    """

    job_id: str
    state: str
    percent: int
    stages: tuple[StageProgress, ...]

    @classmethod
    def of(cls, job: jobs_pb2.Job) -> Self:
        """The progress that a job tells."""
        stages = tuple(
            StageProgress(stage.stage, stage.progress.frames_done, stage.progress.frames_total) for stage in job.stages
        )
        return cls(job.job_id, state_name(job.state), job.percent, stages)


ProgressCallback = Callable[[Progress], None]


def state_name(state: int) -> str:
    """`JOB_STATE_RUNNING` as `running`."""
    return jobs_pb2.JobState.Name(jobs_pb2.JobState.ValueType(state)).removeprefix("JOB_STATE_").lower()


def avatar_state_name(state: int) -> str:
    """`AVATAR_STATE_READY` as `ready`."""
    name = avatars_pb2.AvatarState.Name(avatars_pb2.AvatarState.ValueType(state))
    return name.removeprefix("AVATAR_STATE_").lower()
