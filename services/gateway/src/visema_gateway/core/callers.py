"""Who calls, and the SDK clients that speak for them."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from visema_client import AsyncVisema, RetryPolicy, Timeouts
from visema_kit.auth import TokenTable
from visema_kit.channel import TlsFiles
from visema_kit.errors import Unauthenticated
from visema_kit.keys import DEFAULT_TENANT

TOKEN: Final = re.compile(r"[\x21-\x7e]{1,512}")
CLIENTS_KEPT: Final = 256
CALL_TIMEOUT_S: Final = 35.0  # the orchestrator's checks take 30 s at most
NEVER: Final = RetryPolicy(attempts=1)  # who calls over HTTP is told at once, and tries again where that helps
PATIENT: Final = RetryPolicy(attempts=20)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        scope: Tenant where the gateway knows the tokens, else a name made of the token. Scopes see only their own.
        token: Passed on to the orchestrator, which has the last word.
    """

    scope: str
    token: str | None = field(repr=False)


def caller_of(authorization: str | None, tokens: TokenTable | None) -> Caller:
    """The caller that an `Authorization` header stands for. Raises: Unauthenticated."""
    scheme, _, rest = (authorization or "").partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" and rest.strip() else None
    if token is not None and not TOKEN.fullmatch(token):
        raise Unauthenticated("the token has characters that no token has")  # nor could gRPC carry them
    if tokens is not None:
        return Caller(tokens.tenant_of((("authorization", f"Bearer {token}"),) if token else ()), token)
    if token is None:
        return Caller(DEFAULT_TENANT, None)
    return Caller(f"token-{hashlib.sha256(token.encode()).hexdigest()[:32]}", token)


@dataclass(frozen=True, slots=True)
class CallerClients:
    """SDK clients of one caller: `calls` gives up at once, `streams` follows jobs and sends files patiently."""

    calls: AsyncVisema
    streams: AsyncVisema


class Clients:
    """SDK clients by token; the ones used longest ago are closed."""

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self._address = address
        self._tls = tls
        self._by_token: OrderedDict[str | None, CallerClients] = OrderedDict()

    async def of(self, caller: Caller) -> CallerClients:
        """The clients that speak for a caller."""
        known = self._by_token.get(caller.token)
        if known is not None:
            self._by_token.move_to_end(caller.token)
            return known
        made = CallerClients(self._open(caller, NEVER), self._open(caller, PATIENT))
        self._by_token[caller.token] = made
        if len(self._by_token) > CLIENTS_KEPT:
            _, oldest = self._by_token.popitem(last=False)
            await _close(oldest)
        return made

    async def close(self) -> None:
        """Close all."""
        while self._by_token:
            _, clients = self._by_token.popitem()
            await _close(clients)

    def _open(self, caller: Caller, retry: RetryPolicy) -> AsyncVisema:
        timeouts = Timeouts(call_s=CALL_TIMEOUT_S)
        return AsyncVisema(self._address, tls=self._tls, token=caller.token, retry=retry, timeouts=timeouts)


async def _close(clients: CallerClients) -> None:
    await clients.calls.close()
    await clients.streams.close()
