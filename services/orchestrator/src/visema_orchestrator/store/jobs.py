"""Jobs, their events and their queue. Every function runs in a transaction of `Database`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.orm import Session
from visema.orchestrator.v1 import jobs_pb2
from visema_kit.errors import JobNotEnded, JobNotFound, QueueFull, RequestIdReused

from visema_orchestrator.store.database import now_us
from visema_orchestrator.store.paging import Page
from visema_orchestrator.store.tables import JobEventRow, JobRow

QUEUED, RUNNING = jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING
CANCELLED = jobs_pb2.JOB_STATE_CANCELLED
ENDED: frozenset[int] = frozenset({jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, CANCELLED})
QUEUE_LOCK = 0x5649_5345_4D42  # advisory lock of PostgreSQL: the queue's length is checked and changed in one piece

Change = Callable[[jobs_pb2.Job], None]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An event of a job. `job` is complete and must not be changed: all watchers share it."""

    job_id: str
    sequence: int
    event_us: int
    job: jobs_pb2.Job

    @property
    def is_last(self) -> bool:
        """Whether nothing can follow."""
        return self.job.state in ENDED


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a job: who asks, under which name (may be empty), and for what."""

    tenant: str
    request_id: str
    body_digest: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a request.

    Attributes:
        known: The job that it made before.
        queued: Jobs that wait, of all tenants.
    """

    known: JobRow | None
    queued: int

    def known_job(self, asked: Asked) -> jobs_pb2.Job | None:
        """The job that the request made before.

        Raises: RequestIdReused: the request had another body.
        """
        if self.known is None:
            return None
        if self.known.body_digest != asked.body_digest:
            raise RequestIdReused(
                "this request id was used before with another body",
                field="request_id",
                metadata={"request_id": asked.request_id, "job_id": self.known.job_id},
            )
        return jobs_pb2.Job.FromString(self.known.job)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `add` stores."""

    asked: Asked
    portrait_key: str
    job: jobs_pb2.Job


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since 1970 as a proto."""
    message = Timestamp()
    message.FromMicroseconds(time_us)
    return message


def standings(session: Session, asked: Sequence[Asked]) -> list[Standing]:
    """How it stands with each of these requests."""
    names: dict[str, set[str]] = {}
    for each in asked:
        if each.request_id:
            names.setdefault(each.tenant, set()).add(each.request_id)
    known: dict[tuple[str, str], JobRow] = {}
    for tenant, request_ids in names.items():  # SQLite finds no index for pairs of (tenant, request_id)
        made_before = sa.select(JobRow).where(JobRow.tenant == tenant, JobRow.request_id.in_(request_ids))
        known.update({(tenant, row.request_id or ""): row for row in session.scalars(made_before)})
    queued = count(session, QUEUED)
    return [Standing(known.get((each.tenant, each.request_id)), queued) for each in asked]


def add(session: Session, new: NewJob, queue_limit: int) -> jobs_pb2.Job:
    """Queue a job, or give the one that the same request has made meanwhile.

    Raises: QueueFull: `queue_limit` jobs wait. RequestIdReused: the request had another body.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": QUEUE_LOCK})
    asked, job = new.asked, new.job
    (standing,) = standings(session, [asked])
    known = standing.known_job(asked)
    if known is not None:
        return known
    if standing.queued >= queue_limit:
        raise QueueFull("the job queue is full")
    row = JobRow(
        job_id=job.job_id,
        tenant=asked.tenant,
        request_id=asked.request_id or None,
        body_digest=asked.body_digest,
        state=job.state,
        avatar_id=job.spec.avatar_id,
        portrait_key=new.portrait_key,
        loop_prefix="",
        create_us=job.create_time.ToMicroseconds(),
        expire_us=0,
        executor="",
        cancel_requested=False,
        sequence=0,
        job=job.SerializeToString(),
    )
    session.add(row)
    session.flush()
    _append(session, row, job, is_progress=False)
    return job


def count(session: Session, *states: int) -> int:
    """Jobs in these states, of all tenants."""
    return session.scalar(sa.select(sa.func.count()).select_from(JobRow).where(JobRow.state.in_(states))) or 0


def get(session: Session, tenant: str, job_id: str) -> jobs_pb2.Job:
    """Read a job. Raises: JobNotFound."""
    return jobs_pb2.Job.FromString(_row(session, tenant, job_id).job)


def get_page(session: Session, tenant: str, page: Page, states: Sequence[int], avatar_id: str) -> list[jobs_pb2.Job]:
    """Jobs of a tenant, newest first; one more than `page.size` when there are more."""
    query = sa.select(JobRow.job).where(JobRow.tenant == tenant)
    if page.before:
        query = query.where(JobRow.job_id < page.before)
    if states:
        query = query.where(JobRow.state.in_(states))
    if avatar_id:
        query = query.where(JobRow.avatar_id == avatar_id)
    rows = session.scalars(query.order_by(JobRow.job_id.desc()).limit(page.size + 1))
    return [jobs_pb2.Job.FromString(row) for row in rows]


def tenant_of(session: Session, job_id: str) -> str:
    """The tenant that owns a job. Raises: JobNotFound."""
    tenant = session.scalar(sa.select(JobRow.tenant).where(JobRow.job_id == job_id))
    if tenant is None:
        raise JobNotFound("no such job", metadata={"job_id": job_id})
    return tenant


def events_after(session: Session, tenant: str, job_id: str, sequence: int) -> list[JobEvent]:
    """Stored events with a higher sequence number, oldest first. Raises: JobNotFound."""
    row = _row(session, tenant, job_id)
    spec = jobs_pb2.Job.FromString(row.job).spec
    query = (
        sa.select(JobEventRow)
        .where(JobEventRow.job_id == job_id, JobEventRow.sequence > sequence)
        .order_by(JobEventRow.sequence)
    )
    events = []
    for stored in session.scalars(query):
        job = jobs_pb2.Job.FromString(stored.job)
        job.spec.CopyFrom(spec)
        events.append(JobEvent(job_id, stored.sequence, stored.event_us, job))
    return events


def claim(session: Session, executor: str) -> JobEvent | None:
    """Take the job that has waited longest; it is RUNNING and owned by `executor` afterwards. None: nothing waits."""
    query = sa.select(JobRow).where(JobRow.state == QUEUED).order_by(JobRow.job_id).limit(1)
    row = session.scalar(query.with_for_update(skip_locked=True))
    if row is None:
        return None
    row.executor = executor

    def start(job: jobs_pb2.Job) -> None:
        job.state = RUNNING
        job.start_time.CopyFrom(timestamp(now_us()))

    return _change(session, row, start, is_progress=False)


def adopt(session: Session, job_id: str, executor: str) -> JobRow | None:
    """Make `executor` the owner of a running job that it recovered. None: the job has ended or is gone."""
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None or row.state in ENDED:
        return None
    row.executor = executor
    session.flush()
    return row


def change(session: Session, job_id: str, executor: str, edit: Change, *, is_progress: bool) -> JobEvent | None:
    """Edit a running job as its owner and append an event.

    Returns: None when the job has ended, is gone or belongs to another process by now; nothing is changed then.
    """
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None or row.state in ENDED or row.executor != executor:
        return None
    return _change(session, row, edit, is_progress=is_progress)


def has_ended(session: Session, job_id: str) -> bool:
    """Whether a job has ended or is gone."""
    state = session.scalar(sa.select(JobRow.state).where(JobRow.job_id == job_id))
    return state is None or state in ENDED


def ended_among(session: Session, job_ids: Collection[str]) -> list[tuple[str, str]]:
    """(tenant, job_id) of those that are known here and have ended."""
    query = sa.select(JobRow.tenant, JobRow.job_id).where(JobRow.job_id.in_(job_ids), JobRow.state.in_(ENDED))
    return [(tenant, job_id) for tenant, job_id in session.execute(query)]


def set_loop(session: Session, job_id: str, loop_prefix: str) -> None:
    """Record which prepared loop a job reads."""
    session.execute(sa.update(JobRow).where(JobRow.job_id == job_id).values(loop_prefix=loop_prefix))


def request_cancel(session: Session, tenant: str, job_id: str, cancel: Change) -> tuple[jobs_pb2.Job, JobEvent | None]:
    """Cancel a queued job at once and mark a running one.

    Returns: the job, and the event when it ended here. Raises: JobNotFound.
    """
    row = _row(session, tenant, job_id, lock=True)
    event = None
    if row.state == QUEUED:
        event = _change(session, row, cancel, is_progress=False)
    elif row.state == RUNNING:
        row.cancel_requested = True
    return jobs_pb2.Job.FromString(row.job), event


def cancel_requested(session: Session, executor: str) -> list[str]:
    """Running jobs of a process that somebody wants to stop."""
    query = sa.select(JobRow.job_id).where(
        JobRow.state == RUNNING, JobRow.executor == executor, JobRow.cancel_requested.is_(True)
    )
    return list(session.scalars(query))


def running_of(session: Session, executors: Collection[str]) -> list[str]:
    """Running jobs that these processes own."""
    query = sa.select(JobRow.job_id).where(JobRow.state == RUNNING, JobRow.executor.in_(executors))
    return list(session.scalars(query.order_by(JobRow.job_id)))


def running_owners(session: Session) -> set[str]:
    """Processes that own running jobs."""
    return set(session.scalars(sa.select(JobRow.executor).where(JobRow.state == RUNNING).distinct()))


def requeue(session: Session, job_id: str, owner: str) -> bool:
    """Put a job back that `owner` claimed and never started. Returns: whether it did."""
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None or row.state != RUNNING or row.executor != owner:
        return False
    row.executor = ""

    def queue(job: jobs_pb2.Job) -> None:
        job.state = QUEUED
        job.ClearField("start_time")

    _change(session, row, queue, is_progress=False)
    return True


def hand_over(session: Session, job_id: str, owner: str, heir: str) -> bool:
    """Move a running job from a dead owner to its heir. Returns: False when somebody else was first."""
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None or row.state != RUNNING or row.executor != owner:
        return False
    row.executor = heir
    return True


def newest_event(session: Session, job_id: str, but_not_of: str) -> list[JobEvent]:
    """The newest event of a job that another process owns; empty for own jobs and jobs that are gone."""
    row = session.get(JobRow, job_id)
    if row is None or row.executor == but_not_of:
        return []
    event_us = session.scalar(
        sa.select(JobEventRow.event_us).where(JobEventRow.job_id == job_id, JobEventRow.sequence == row.sequence)
    )
    return [JobEvent(job_id, row.sequence, event_us or row.create_us, jobs_pb2.Job.FromString(row.job))]


def delete(session: Session, tenant: str, job_id: str) -> jobs_pb2.Job:
    """Forget an ended job. Raises: JobNotFound, JobNotEnded."""
    row = _row(session, tenant, job_id, lock=True)
    if row.state not in ENDED:
        raise JobNotEnded("the job has not ended: cancel it first", metadata={"job_id": job_id})
    job = jobs_pb2.Job.FromString(row.job)
    session.delete(row)
    return job


def expired(session: Session, at_us: int, limit: int) -> list[tuple[str, str]]:
    """(tenant, job_id) of ended jobs whose result may go."""
    query = sa.select(JobRow.tenant, JobRow.job_id).where(JobRow.expire_us > 0, JobRow.expire_us <= at_us).limit(limit)
    return [(tenant, job_id) for tenant, job_id in session.execute(query)]


def keys_in_use(session: Session) -> set[tuple[str, str]]:
    """(tenant, key or prefix) that unfinished jobs read."""
    query = sa.select(JobRow.tenant, JobRow.portrait_key, JobRow.loop_prefix, JobRow.job).where(
        JobRow.state.in_((QUEUED, RUNNING))
    )
    in_use: set[tuple[str, str]] = set()
    for tenant, portrait_key, loop_prefix, job in session.execute(query):
        audio_key = jobs_pb2.Job.FromString(job).spec.audio.key
        in_use.update((tenant, key) for key in (portrait_key, loop_prefix, audio_key) if key)
    return in_use


def _row(session: Session, tenant: str, job_id: str, *, lock: bool = False) -> JobRow:
    query = sa.select(JobRow).where(JobRow.job_id == job_id, JobRow.tenant == tenant)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise JobNotFound("no such job", metadata={"job_id": job_id})
    return row


def _change(session: Session, row: JobRow, edit: Change, *, is_progress: bool) -> JobEvent:
    job = jobs_pb2.Job.FromString(row.job)
    edit(job)
    row.job = job.SerializeToString()
    row.state = job.state
    row.expire_us = job.expire_time.ToMicroseconds()
    return _append(session, row, job, is_progress=is_progress)


def _append(session: Session, row: JobRow, job: jobs_pb2.Job, *, is_progress: bool) -> JobEvent:
    row.sequence += 1
    event = JobEvent(row.job_id, row.sequence, now_us(), job)
    session.execute(sa.delete(JobEventRow).where(JobEventRow.job_id == row.job_id, JobEventRow.is_progress.is_(True)))
    snapshot = jobs_pb2.Job()
    snapshot.CopyFrom(job)
    snapshot.ClearField("spec")
    session.add(
        JobEventRow(
            job_id=row.job_id,
            sequence=event.sequence,
            tenant=row.tenant,
            event_us=event.event_us,
            is_progress=is_progress,
            job=snapshot.SerializeToString(),
        )
    )
    return event
