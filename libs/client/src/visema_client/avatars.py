"""Avatars: portraits whose animation is prepared ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from visema.orchestrator.v1 import avatars_pb2
from visema_kit.errors import AvatarNotFound
from visema_kit.status import from_status

from visema_client.connection import Connection
from visema_client.jobs import new_request_id

POLL_S: Final = 0.25


async def create(connection: Connection, spec: avatars_pb2.AvatarSpec, request_id: str | None) -> avatars_pb2.Avatar:
    """Register an avatar. Raises: VisemaError."""
    request = avatars_pb2.CreateAvatarRequest(request_id=request_id or new_request_id(), spec=spec)
    reply: avatars_pb2.CreateAvatarResponse = await connection.call(connection.avatars.CreateAvatar, request)
    return reply.avatar


async def get(connection: Connection, avatar_id: str) -> avatars_pb2.Avatar:
    """Read an avatar. Raises: AvatarNotFound, VisemaError."""
    reply: avatars_pb2.GetAvatarResponse = await connection.call(
        connection.avatars.GetAvatar, avatars_pb2.GetAvatarRequest(avatar_id=avatar_id)
    )
    return reply.avatar


async def delete(connection: Connection, avatar_id: str) -> None:
    """Delete an avatar; finished videos stay. Raises: AvatarNotFound, VisemaError."""
    request = avatars_pb2.DeleteAvatarRequest(avatar_id=avatar_id)
    await connection.delete(connection.avatars.DeleteAvatar, request, gone=AvatarNotFound)


async def page(connection: Connection, *, page_size: int, page_token: str) -> tuple[Sequence[avatars_pb2.Avatar], str]:
    """Some avatars, newest first, and the token of the page after them, empty on the last. Raises: VisemaError."""
    request = avatars_pb2.ListAvatarsRequest(page_size=page_size, page_token=page_token)
    reply: avatars_pb2.ListAvatarsResponse = await connection.call(connection.avatars.ListAvatars, request)
    return reply.avatars, reply.next_page_token


async def iterate(connection: Connection, *, page_size: int) -> AsyncGenerator[avatars_pb2.Avatar, None]:
    """All avatars, newest first, page after page. Raises: VisemaError."""
    token = ""
    while True:
        found, token = await page(connection, page_size=page_size, page_token=token)
        for avatar in found:
            yield avatar
        if not token:
            return


async def wait(connection: Connection, avatar_id: str) -> avatars_pb2.Avatar:
    """Wait until an avatar is prepared.

    Raises: VisemaError: why preparing failed, or why the avatar cannot be read.
    """
    while True:
        avatar = await get(connection, avatar_id)
        if avatar.state == avatars_pb2.AVATAR_STATE_FAILED:
            raise from_status(avatar.error)
        if avatar.state == avatars_pb2.AVATAR_STATE_READY:
            return avatar
        await asyncio.sleep(POLL_S)
