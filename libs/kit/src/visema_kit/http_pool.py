"""HTTP connections for large uploads over slow networks, and for those that nobody wants any more.

urllib3 gives the whole of a request, once connected, the time that connecting may take: over a link of 100 kB a second
an upload of a megabyte would never end with a connect timeout of three seconds. Here each piece has its own time.

A thread cannot be cancelled, but an upload can stop between two pieces: what a store gets in part it does not keep.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

SEND_TIMEOUT_S: Final = 30.0  # for one piece
PIECE_BYTES: Final = 256 * 1024
UNWANTED: Final[ContextVar[threading.Event | None]] = ContextVar("unwanted", default=None)  # set: stop uploading


class UploadUnwanted(Exception):
    """An upload stopped in the middle, because nobody waits for it. No fault: it is neither repeated nor counted."""


class InPieces(HTTPConnection):
    """Sends in pieces. What one may take does not depend on how many there are."""

    def send(self, data: Any) -> None:
        """Send bytes; what is no bytes goes as it would without this class.

        Raises: TimeoutError: a piece is stuck. UploadUnwanted.
        """
        if self.sock is None:
            self.connect()  # within the connect timeout
        self.sock.settimeout(SEND_TIMEOUT_S)  # getresponse() sets that for reading
        if not isinstance(data, bytes):
            super().send(data)
            return
        unwanted = UNWANTED.get()
        with memoryview(data) as view:
            for start in range(0, len(view), PIECE_BYTES):
                if start and unwanted is not None and unwanted.is_set():
                    raise UploadUnwanted
                super().send(view[start : start + PIECE_BYTES])


class _SecureInPieces(InPieces, HTTPSConnection):
    """The same over TLS."""


class _Plain(HTTPConnectionPool):
    ConnectionCls = InPieces


class _Secure(HTTPSConnectionPool):
    ConnectionCls = _SecureInPieces


class PatientPool(urllib3.PoolManager):
    """A pool of connections that send in pieces; arguments as urllib3's."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pool_classes_by_scheme = {"http": _Plain, "https": _Secure}
