"""Opaque page tokens of ListVoices (AIP-158): where the last page ended, bound to its filter."""

from __future__ import annotations

import base64
import binascii

from visema_kit.errors import InvalidInput

_SEPARATOR = "\n"


def token_after(voice_id: str, language: str) -> str:
    """Token for the page behind `voice_id` of the list for `language`."""
    return base64.urlsafe_b64encode(f"{language}{_SEPARATOR}{voice_id}".encode()).decode()


def page_start(token: str, language: str) -> str:
    """The voice id behind which the page begins; empty for the first page.

    Raises: InvalidInput: the token is damaged or belongs to the list of another language.
    """
    if not token:
        return ""
    try:
        listed, separator, voice_id = base64.urlsafe_b64decode(token.encode()).decode().rpartition(_SEPARATOR)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidInput("The page token is damaged.", field="page_token") from error
    if not separator or listed != language:
        raise InvalidInput("The page token belongs to another list.", field="page_token")
    return voice_id
