"""Client channels to VISEMA's services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import grpc

from visema_kit.client_channel import ClientChannel

if TYPE_CHECKING:
    from visema_kit.settings import ServiceSettings

CallT = TypeVar("CallT", bound=grpc.aio.Call)

MESSAGE_LIMIT_BYTES: Final = 4 * 1024 * 1024  # media travels by reference; chunks are far smaller
KEEPALIVE_MS: Final = 30_000
# Also TCP's limit for what is not acknowledged. TCP repeats ever more rarely: after an outage of 8 s it may notice only
# 8 s later that the link is back, and with 10 s here it broke streams that need not break.
KEEPALIVE_TIMEOUT_MS: Final = 20_000

# round_robin over all addresses that the name has (a headless service in Kubernetes). No retries: whether a call may be
# repeated is for the caller to know.
_SERVICE_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # the failures of another channel, of a server long gone, are not this one's
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a client. `cert` and `key` are shown to servers that want them (mTLS).

    Attributes:
        ca: CA of the servers' certificates; None: the public ones.
        server_name: Name in the servers' certificates where it is not the one that is called.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Self | None:
        """What a service uses to call others; None where TLS is off."""
        if settings.tls_ca is None and settings.tls_cert is None:
            return None
        return cls(settings.tls_ca, settings.tls_cert, settings.tls_key)


def open_channel(address: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """A channel to `host:port`; connects when it is used first, and again when a connection breaks.

    Raises: OSError: a TLS file cannot be read.
    """
    if tls is None:
        return ClientChannel(grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS))
    credentials = grpc.ssl_channel_credentials(_content(tls.ca), _content(tls.key), _content(tls.cert))
    options: tuple[tuple[str, str | int], ...] = CHANNEL_OPTIONS
    if tls.server_name:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    return ClientChannel(grpc.aio.secure_channel(address, credentials, options=options))


@contextmanager
def ending(call: CallT) -> Iterator[CallT]:
    """Cancel the call at the end of the block, whatever ends it; a call that has ended stays as it is.

    A stream that is left early (by an error, or by a cancellation that arrives together with a reply) otherwise goes on
    at the server until the call object is collected.
    """
    try:
        yield call
    finally:
        call.cancel()


def _content(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None
