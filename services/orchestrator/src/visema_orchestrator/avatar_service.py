"""AvatarService: protos to the store and the intake."""

# ruff: noqa: ARG002, N802  # gRPC gives the names and the arguments
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from visema.orchestrator.v1 import avatars_pb2, avatars_pb2_grpc
from visema_kit.auth import current_tenant
from visema_kit.interceptors import time_left_s
from visema_kit.keys import key_prefix
from visema_kit.objects import ObjectStore

from visema_orchestrator.intake import Intake
from visema_orchestrator.store import avatars, jobs, media
from visema_orchestrator.store.database import Database
from visema_orchestrator.store.paging import read_page, write_token
from visema_orchestrator.work import RunningWork

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class AvatarServicer(avatars_pb2_grpc.AvatarServiceServicer):
    """Keeps portraits that speak often."""

    database: Database
    objects: ObjectStore
    intake: Intake
    work: RunningWork
    check_timeout_s: float

    async def CreateAvatar(
        self, request: avatars_pb2.CreateAvatarRequest, context: Context
    ) -> avatars_pb2.CreateAvatarResponse:
        """Register a portrait and start to prepare it."""
        timeout_s = min(self.check_timeout_s, time_left_s(context) or self.check_timeout_s)
        avatar = await self.intake.create_avatar(current_tenant(), request, timeout_s)
        return avatars_pb2.CreateAvatarResponse(avatar=avatar)

    async def GetAvatar(self, request: avatars_pb2.GetAvatarRequest, context: Context) -> avatars_pb2.GetAvatarResponse:
        """Read an avatar."""
        avatar = await self.database.read(avatars.get, current_tenant(), request.avatar_id)
        return avatars_pb2.GetAvatarResponse(avatar=avatar)

    async def ListAvatars(
        self, request: avatars_pb2.ListAvatarsRequest, context: Context
    ) -> avatars_pb2.ListAvatarsResponse:
        """List avatars, newest first."""
        tenant = current_tenant()
        filter_text = f"avatars {tenant}"
        page = read_page(request.page_size, request.page_token, filter_text)
        found = await self.database.read(avatars.get_page, tenant, page)
        response = avatars_pb2.ListAvatarsResponse(avatars=found[: page.size])
        if len(found) > page.size:
            response.next_page_token = write_token(found[page.size - 1].avatar_id, filter_text)
        return response

    async def DeleteAvatar(
        self, request: avatars_pb2.DeleteAvatarRequest, context: Context
    ) -> avatars_pb2.DeleteAvatarResponse:
        """Delete an avatar, its portrait and its loop; what unfinished jobs still read goes with a later sweep."""
        tenant = current_tenant()
        avatar, loop_prefix = await self.database.write(avatars.delete, tenant, request.avatar_id)
        self.work.cancel(avatar.avatar_id)
        in_use = await self.database.read(jobs.keys_in_use) | await self.database.read(avatars.loops_in_use)
        portrait_key = avatar.spec.portrait.key
        if (tenant, portrait_key) in in_use:
            await self.database.write(media.touch, tenant, media.MEDIA, portrait_key, 0)
        else:
            await self.objects.delete_prefix(key_prefix("avatars", tenant, avatar.avatar_id))
        if loop_prefix and (tenant, loop_prefix) in in_use:
            await self.database.write(media.touch, tenant, media.LOOP, loop_prefix, 0)
        elif loop_prefix:
            await self.objects.delete_prefix(loop_prefix)
            await self.database.write(media.forget, tenant, loop_prefix)
        return avatars_pb2.DeleteAvatarResponse()
