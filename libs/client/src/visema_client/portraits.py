"""What a portrait shows, before anything is made of it."""

from __future__ import annotations

from typing import Final

from visema.common.v1 import common_pb2
from visema.portrait.v1 import portrait_pb2

from visema_client.connection import Connection

# Required by the message; the orchestrator puts the tenant of the token in its place.
CALLER: Final = common_pb2.WorkContext(tenant="caller", work_id="inspect")


async def inspect(
    connection: Connection, portrait: common_pb2.ObjectRef, face: portrait_pb2.FaceSelection
) -> portrait_pb2.InspectResponse:
    """Find the faces of an uploaded picture. Raises: NoFaceFound, SeveralFaces, VisemaError."""
    request = portrait_pb2.InspectRequest(context=CALLER, portrait=portrait, face=face)
    reply: portrait_pb2.InspectResponse = await connection.call(connection.portraits.Inspect, request)
    return reply
