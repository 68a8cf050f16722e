"""Opaque page tokens (AIP-158): where the last page ended, bound to the filter that it was made with."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from visema_kit.errors import InvalidInput

DEFAULT_SIZE = 50
LARGEST_SIZE = 200
FILTER_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: at most `size` rows with an id below `before` (empty: from the newest)."""

    size: int
    before: str


def read_page(size: int, token: str, filter_text: str) -> Page:
    """The page that a request asks for.

    Args: filter_text: the request's filter and tenant in words; a token made with another filter is refused.
    Raises: InvalidInput.
    """
    if size < 0:
        raise InvalidInput("the page size is negative", field="page_size")
    size = min(size or DEFAULT_SIZE, LARGEST_SIZE)
    if not token:
        return Page(size, "")
    try:
        digest, separator, before = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidInput("the page token is damaged", field="page_token") from error
    if not separator or not before or digest != _digest(filter_text):
        raise InvalidInput("the page token belongs to another list", field="page_token")
    return Page(size, before)


def write_token(last_id: str, filter_text: str) -> str:
    """Token for the page after `last_id`."""
    return base64.urlsafe_b64encode(f"{_digest(filter_text)}:{last_id}".encode()).decode()


def _digest(filter_text: str) -> str:
    return hashlib.sha256(filter_text.encode()).hexdigest()[:FILTER_DIGITS]
