"""Tokens in the gateway's database: nobody who reads it learns them."""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from visema_kit.errors import Unauthenticated

PURPOSE: Final = b"visema gateway: tokens of pending webhooks"
KEY_BYTES: Final = 32  # AES-256
NONCE_BYTES: Final = 12  # what GCM was made for


class Seal:
    """Encrypts tokens with a key made of the operator's secret (HKDF, AES-GCM)."""

    def __init__(self, secret: str) -> None:
        key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret.encode())
        self._cipher = AESGCM(key)

    def close(self, token: str, place: str) -> bytes:
        """A token that can be opened in the same place only, such as the id of its webhook's job."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, token.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """The token. Raises: Unauthenticated: it was sealed with another secret, or for another place."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode()).decode()
        except InvalidTag:
            raise Unauthenticated("the stored token was sealed with another secret") from None
