"""Prepares avatars: stage 1 renders the whole idle loop once, so that jobs find it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visema.common.v1 import common_pb2
from visema.encoding.v1 import encoding_pb2
from visema.lipsync.v1 import lipsync_pb2
from visema.orchestrator.v1 import avatars_pb2
from visema_kit.errors import VisemaError
from visema_kit.keys import job_prefix
from visema_kit.logs import get_logger
from visema_kit.status import error_to_proto

from visema_orchestrator import spec as wishes
from visema_orchestrator.pipeline import Pipeline, PipelineRequest, Progress
from visema_orchestrator.progress import AvatarProgress
from visema_orchestrator.store import avatars, media
from visema_orchestrator.work import Cancelled, run_beside

if TYPE_CHECKING:
    from visema_kit.objects import ObjectStore

    from visema_orchestrator.settings import OrchestratorSettings
    from visema_orchestrator.stages import Stages
    from visema_orchestrator.store.database import Database
    from visema_orchestrator.work import RunningWork

log = get_logger(__name__)


@dataclass(frozen=True)
class AvatarRunner:
    """Prepares avatars in this process."""

    settings: OrchestratorSettings
    executor: str
    database: Database
    objects: ObjectStore
    stages: Stages
    work: RunningWork

    async def prepare(self, avatar_id: str) -> None:
        """Render an avatar's loop and mark it READY, or FAILED with the reason. Does nothing when it is gone."""
        owned = await self.database.write(avatars.adopt, avatar_id, self.executor)
        if owned is None:
            return
        tenant, avatar = owned
        try:
            with self.work.active(avatar_id):
                loop_prefix, frames = await self.work.run(avatar_id, self._render(tenant, avatar))
        except Cancelled:
            return  # the avatar was deleted
        except VisemaError as error:
            log.warning("avatar_failed", avatar_id=avatar_id, reason=error.reason, message=error.message)
            failure = error_to_proto(error)

            def fail(stored: avatars_pb2.Avatar) -> None:
                stored.state = avatars_pb2.AVATAR_STATE_FAILED
                stored.error.CopyFrom(failure)

            await self.database.write(avatars.change, avatar_id, fail)
            return

        def make_ready(stored: avatars_pb2.Avatar) -> None:
            stored.state = avatars_pb2.AVATAR_STATE_READY
            stored.progress.frames_done = stored.progress.frames_total = frames
            stored.ClearField("error")

        if await self.database.write(avatars.change, avatar_id, make_ready, loop_prefix) is None and loop_prefix:
            await self.objects.delete_prefix(loop_prefix)  # deleted meanwhile
        await self.objects.delete_prefix(job_prefix(tenant, avatar_id))

    async def _render(self, tenant: str, avatar: avatars_pb2.Avatar) -> tuple[str, int]:
        """Run stage 1 over one loop. Returns: the prefix of its objects, empty when stage 1 keeps none; its frames."""
        frame_count = 1  # how long loops are is stage 1's to know, and it tells with the first frame
        loop_prefix, loop_frame_count = await self._animate(tenant, avatar, frame_count, lambda *_: None)
        if loop_frame_count > frame_count:  # what exists by now is found again
            frame_count = loop_frame_count
            progress = AvatarProgress(self.database, avatar.avatar_id)
            rendering = self._animate(tenant, avatar, frame_count, progress.update)
            loop_prefix, _ = await run_beside(rendering, progress.run())
        if loop_prefix:
            await self.database.write(media.touch, tenant, media.LOOP, loop_prefix)
        return loop_prefix, frame_count

    async def _animate(
        self, tenant: str, avatar: avatars_pb2.Avatar, frame_count: int, on_progress: Progress
    ) -> tuple[str, int]:
        """Run stage 1. Returns: the prefix of its objects, and the length of its loop in frames."""
        look = wishes.with_defaults(avatar.spec)
        context = common_pb2.WorkContext(tenant=tenant, work_id=avatar.avatar_id)
        request = PipelineRequest(
            animate=wishes.animate_request(look, context, frame_count),
            audio=common_pb2.ObjectRef(),
            words=(),
            lip_sync=lipsync_pb2.LipSyncSettings(),
            encoding=encoding_pb2.EncodingSettings(),
            engine=look.engine,
            title="",
            max_in_flight=self.settings.max_in_flight,
        )
        now_s = time.monotonic()
        prefixes: list[str] = []

        def remember(segment: common_pb2.Segment) -> None:
            if segment.object.key.startswith("loops/"):
                prefixes.append(segment.object.key.rpartition("/")[0] + "/")

        pipeline = Pipeline(
            self.stages,
            request,
            self.settings.retry_policy,
            job_start_s=now_s,
            deadline_s=now_s + self.settings.job_timeout_s,
            on_progress=on_progress,
            on_animated=remember,
        )
        await pipeline.animate_only()
        return (prefixes[0] if prefixes else ""), pipeline.loop_frame_count
