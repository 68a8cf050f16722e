"""Errors that only a client meets; everything a server says is a class of `visema_kit.errors`."""

from __future__ import annotations

from visema_kit.errors import DeadlineExceeded, PreconditionFailed, Unavailable


class JobCancelled(PreconditionFailed):
    """The job was cancelled, so there is no video."""


class ServerUnreachable(Unavailable):
    """Nothing answers at the server's address, or the connection broke."""


class WaitTooLong(DeadlineExceeded):
    """The time that the caller wanted to wait has passed; the server may still be at work."""
