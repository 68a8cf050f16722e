"""Disks for files that are being written: a full one has a name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from visema_kit.errors import ScratchFull

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def room_on(disk: str) -> Iterator[None]:
    """The block writes files. Args: disk: which one, for people. Raises: ScratchFull: they do not fit on it."""
    try:
        yield
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise ScratchFull(f"{disk} for files that are being written is full") from err
