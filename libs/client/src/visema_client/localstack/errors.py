"""What can go wrong with a local stack."""

from __future__ import annotations


class LocalStackError(RuntimeError):
    """The local stack cannot start or died.

    Args:
        message: One sentence for a person.
        hint: What the person can do about it.
        log_tail: Last lines of the log of the process that failed; empty when there is none.
    """

    def __init__(self, message: str, *, hint: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log_tail = log_tail
