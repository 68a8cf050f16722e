"""Who calls: bearer tokens from a file to tenants, and the tenant of the running call."""

from __future__ import annotations

import contextvars
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from visema_kit.errors import Unauthenticated, VisemaError
from visema_kit.keys import DEFAULT_TENANT, check_tenant_name
from visema_kit.logs import get_logger

_SCHEME: Final = "bearer "
_TOKEN_MIN_CHARACTERS: Final = 16

_tenant: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("visema_tenant", default=DEFAULT_TENANT)

log = get_logger(__name__)


def current_tenant() -> str:
    """The tenant that the running call was authenticated as; `default` without tokens."""
    return _tenant.get()


def set_current_tenant(tenant: str) -> None:
    """Note the tenant for the running call: each RPC has a context of its own, so nothing is to be undone."""
    _tenant.set(tenant)


class TokenTable:
    """Tokens and their tenants, from a JSON file `{"token": "tenant"}`. A changed file is read again at the next call.

    Only hashes are kept, so that neither a repr nor the time of a look-up gives a token away.

    Raises: ValueError, OSError: the file cannot be used (later changes that cannot be used are logged and left out).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._modified_ns = path.stat().st_mtime_ns
        self._tenants = _read_tokens(path)

    def tenant_of(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """The tenant that the call's `authorization: Bearer …` stands for. Raises: Unauthenticated."""
        self._refresh()
        for key, value in metadata:
            if key == "authorization" and isinstance(value, str) and value.lower().startswith(_SCHEME):
                tenant = self._tenants.get(_hashed(value[len(_SCHEME) :].strip()))
                if tenant is not None:
                    return tenant
                raise Unauthenticated("the token is not known")
        raise Unauthenticated("the call carries no token (metadata `authorization: Bearer …`)")

    def _refresh(self) -> None:
        try:
            modified_ns = self._path.stat().st_mtime_ns
            if modified_ns == self._modified_ns:
                return
            self._modified_ns = modified_ns
            self._tenants = _read_tokens(self._path)
        except (OSError, ValueError) as error:
            log.warning("tokens_not_reloaded", error=str(error))
        else:
            log.info("tokens_reloaded", tokens=len(self._tenants))


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _read_tokens(path: Path) -> Mapping[bytes, str]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"the tokens file is not JSON (line {error.lineno})") from None
    if not isinstance(table, dict) or not all(isinstance(tenant, str) for tenant in table.values()):
        raise ValueError('the tokens file must look like {"token": "tenant"}')
    if not table or min(map(len, table)) < _TOKEN_MIN_CHARACTERS:
        raise ValueError(f"the tokens file needs tokens of at least {_TOKEN_MIN_CHARACTERS} characters")
    try:
        return {_hashed(token): check_tenant_name(tenant) for token, tenant in table.items()}
    except VisemaError as error:
        raise ValueError(error.message) from None
