"""A channel whose calls carry the running call's trace, and whose client streams report what the server said.

When a server ends a call while the client still writes, grpc.aio answers the failed write by replacing the status that
has already arrived with `INTERNAL: Internal error from Core` (grpc/grpc#36066, open in 1.85): an early refusal was lost
in 97 of 100 calls. tests/unit/kit/test_kit_channel.py tells when `_keeping` can go. It reaches into the call object, so
gRPC's own client interceptors, which hide that, cannot carry the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import grpc

from visema_kit.tracing import trace_metadata


class ClientChannel(grpc.aio.Channel):
    """Hands everything on to `inner`."""

    def __init__(self, inner: grpc.aio.Channel) -> None:
        self._inner = inner

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._inner.__aexit__(*exception)  # type: ignore[arg-type]  # three arguments, as they came

    async def close(self, grace: float | None = None) -> None:
        """Close the connections; running calls get `grace` seconds."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002  # gRPC's form
        """How the connection is."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Until the connection is in another state."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Until there is a connection."""
        await self._inner.channel_ready()

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """As gRPC's, with the trace."""
        return _traced(self._inner.unary_unary(*args, **options))

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """As gRPC's, with the trace."""
        return _traced(self._inner.unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """As gRPC's, with the trace, and keeps the server's status."""
        return _traced(_keeping(self._inner.stream_unary(*args, **options)))

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """As gRPC's, with the trace, and keeps the server's status."""
        return _traced(_keeping(self._inner.stream_stream(*args, **options)))


def _traced(method: Callable[..., Any]) -> Callable[..., Any]:
    def start(*args: Any, metadata: Iterable[tuple[str, str | bytes]] | None = None, **options: Any) -> Any:
        return method(*args, metadata=(*(metadata or ()), *trace_metadata()), **options)

    return start


def _keeping(method: Callable[..., Any]) -> Callable[..., Any]:
    def start(*args: Any, **options: Any) -> Any:
        call = method(*args, **options)
        # Before the loop runs again nothing has been written, so no status can have been lost yet.
        call._cython_call = _KeptStatus(call._cython_call)  # noqa: SLF001  # there is no public place for it
        return call

    return start


class _KeptStatus:
    """The inner call object of grpc.aio, except that an ended call stays as it ended."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)

    def set_internal_error(self, details: str) -> None:
        """Called by grpc.aio for a failed write."""
        if not self._inner.done():
            self._inner.set_internal_error(details)
