"""Voices that a server speaks text with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from visema.speech.v1 import speech_pb2

from visema_client.connection import Connection

PAGE_SIZE: Final = 500


async def iterate(connection: Connection, *, language: str) -> AsyncGenerator[speech_pb2.Voice, None]:
    """All voices by id, page after page. Args: language: BCP 47 tag; all voices when empty. Raises: VisemaError."""
    token = ""
    while True:
        request = speech_pb2.ListVoicesRequest(language=language, page_size=PAGE_SIZE, page_token=token)
        reply: speech_pb2.ListVoicesResponse = await connection.call(connection.speech.ListVoices, request)
        for voice in reply.voices:
            yield voice
        token = reply.next_page_token
        if not token:
            return
