"""Who calls, and the SDK clients that speak for them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from visema_client import AsyncVisema, RetryPolicy, Timeouts
from visema_kit.auth import TokenTable
from visema_kit.channel import TlsFiles
from visema_kit.errors import Unauthenticated
from visema_kit.keys import DEFAULT_TENANT

TOKEN: Final = re.compile(r"[\x21-\x7e]{1,512}")
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


class Clients:
    """SDK clients for any number of callers over one connection to the orchestrator."""

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self._client = AsyncVisema(address, tls=tls, timeouts=Timeouts(call_s=CALL_TIMEOUT_S))

    def calls(self, caller: Caller) -> AsyncVisema:
        """Speaks for a caller and gives up at once."""
        return self._client.as_caller(caller.token, retry=NEVER)

    def streams(self, caller: Caller) -> AsyncVisema:
        """Speaks for a caller and is patient: for following jobs and reading objects."""
        return self._client.as_caller(caller.token, retry=PATIENT)

    async def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._client.close()
