"""The channel to one server: address, TLS, token, deadlines, typed errors and retries for every call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import grpc
from visema.orchestrator.v1 import avatars_pb2_grpc, jobs_pb2_grpc, media_pb2_grpc
from visema.portrait.v1 import portrait_pb2_grpc
from visema.speech.v1 import speech_pb2_grpc
from visema_kit.channel import TlsFiles, ending, open_channel
from visema_kit.errors import Unavailable, VisemaError
from visema_kit.status import from_rpc_error

from visema_client.errors import ServerUnreachable
from visema_client.retry import Attempts, Contact, RetryPolicy, with_retries

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of single calls in seconds; what a whole video may take is said where it is asked for.

    Attributes:
        call_s: Calls with one reply.
        upload_s: Sending one file once.
        stream_s: One WatchJob or Download stream; a longer one is opened again and goes on where it was.
    """

    call_s: float = 60.0
    upload_s: float = 300.0
    stream_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Connection:
    """One server, and who speaks to it. Connects when it is used first, and again when the connection breaks."""

    address: str
    retry: RetryPolicy
    timeouts: Timeouts
    jobs: jobs_pb2_grpc.JobServiceAsyncStub
    avatars: avatars_pb2_grpc.AvatarServiceAsyncStub
    media: media_pb2_grpc.MediaServiceAsyncStub
    portraits: portrait_pb2_grpc.PortraitAnimationServiceAsyncStub
    speech: speech_pb2_grpc.SpeechServiceAsyncStub
    token: str = field(repr=False)
    channel: grpc.aio.Channel = field(repr=False)
    borrowed: bool = False
    contact: Contact = field(default_factory=Contact, repr=False)

    @classmethod
    def open(
        cls, address: str, *, tls: TlsFiles | None, token: str | None, retry: RetryPolicy, timeouts: Timeouts
    ) -> Connection:
        """A connection of its own. Raises: OSError: a TLS file cannot be read."""
        channel = open_channel(address, tls)
        return cls(
            address=address,
            retry=retry,
            timeouts=timeouts,
            jobs=jobs_pb2_grpc.JobServiceStub(channel),
            avatars=avatars_pb2_grpc.AvatarServiceStub(channel),
            media=media_pb2_grpc.MediaServiceStub(channel),
            portraits=portrait_pb2_grpc.PortraitAnimationServiceStub(channel),
            speech=speech_pb2_grpc.SpeechServiceStub(channel),
            token=token or "",
            channel=channel,
        )

    def as_caller(self, token: str | None, retry: RetryPolicy) -> Connection:
        """The same channel with another caller's token and patience. Only who opened the channel closes it."""
        return replace(self, token=token or "", retry=retry, borrowed=True)

    @property
    def metadata(self) -> Metadata | None:
        """The token, for every call; the channel adds the trace."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else None

    @asynccontextmanager
    async def typed_errors(self) -> AsyncIterator[None]:
        """Raises: VisemaError: instead of a gRPC error inside the block."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            typed = self._typed(error)
            self.contact.made |= not isinstance(typed, ServerUnreachable)
            raise typed from error
        else:
            self.contact.made = True

    def attempts(self) -> Attempts:
        """A new row of attempts at one thing."""
        return Attempts(self.retry, self.contact)

    async def call(
        self, method: Callable[..., Awaitable[ReplyT]], request: object, *, timeout_s: float | None = None
    ) -> ReplyT:
        """One idempotent call, made again after faults that pass.

        Raises: VisemaError.
        """

        async def once() -> ReplyT:
            async with self.typed_errors():
                return await method(request, timeout=timeout_s or self.timeouts.call_s, metadata=self.metadata)

        return await with_retries(self.attempts(), once)

    async def delete(
        self, method: Callable[..., Awaitable[object]], request: object, *, gone: type[VisemaError]
    ) -> None:
        """One deletion. That nothing is there any more is success where an earlier attempt may have done it.

        Raises: VisemaError; `gone` only from the first attempt.
        """
        attempt = 0

        async def once() -> None:
            nonlocal attempt
            attempt += 1
            async with self.typed_errors():
                await method(request, timeout=self.timeouts.call_s, metadata=self.metadata)

        try:
            await with_retries(self.attempts(), once)
        except gone:
            if attempt == 1:
                raise

    @asynccontextmanager
    async def stream(
        self, method: Callable[..., grpc.aio.UnaryStreamCall[RequestT, ReplyT]], request: RequestT
    ) -> AsyncIterator[grpc.aio.UnaryStreamCall[RequestT, ReplyT]]:
        """The replies of one streaming call, which is over when the block is left.

        Raises: VisemaError: inside the block, from the call.
        """
        with ending(method(request, timeout=self.timeouts.stream_s, metadata=self.metadata)) as replies:
            async with self.typed_errors():
                yield replies

    async def close(self) -> None:
        """Close the channel, unless it is another's; running calls are cancelled."""
        if not self.borrowed:
            await self.channel.close()

    def _typed(self, error: grpc.aio.AioRpcError) -> VisemaError:
        typed = from_rpc_error(error)
        if isinstance(typed, Unavailable) and "grpc_code" in typed.metadata:  # the channel's word, not the server's
            return ServerUnreachable(f"no VISEMA server answers at {self.address}: {typed.message}")
        return typed
