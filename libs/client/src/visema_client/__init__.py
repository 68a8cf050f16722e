"""Python SDK and the visema command line.

from visema_client import Visema

video = Visema("localhost:50051").generate("portrait.jpg", "speech.wav")
video.save("out.mp4")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visema_kit.channel import TlsFiles as TlsFiles

    from visema_client.aio import AsyncVideo as AsyncVideo
    from visema_client.aio import AsyncVisema as AsyncVisema
    from visema_client.connection import Timeouts as Timeouts
    from visema_client.errors import JobCancelled as JobCancelled
    from visema_client.errors import ServerUnreachable as ServerUnreachable
    from visema_client.errors import WaitTooLong as WaitTooLong
    from visema_client.progress import Progress as Progress
    from visema_client.progress import StageProgress as StageProgress
    from visema_client.retry import RetryPolicy as RetryPolicy
    from visema_client.settings import VideoSettings as VideoSettings
    from visema_client.sync import Video as Video
    from visema_client.sync import Visema as Visema

# Loaded when first used: `visema --help` must not wait for gRPC.
_HOMES = {
    "AsyncVideo": "visema_client.aio",
    "AsyncVisema": "visema_client.aio",
    "JobCancelled": "visema_client.errors",
    "Progress": "visema_client.progress",
    "RetryPolicy": "visema_client.retry",
    "ServerUnreachable": "visema_client.errors",
    "StageProgress": "visema_client.progress",
    "Timeouts": "visema_client.connection",
    "TlsFiles": "visema_kit.channel",
    "Video": "visema_client.sync",
    "VideoSettings": "visema_client.settings",
    "Visema": "visema_client.sync",
    "WaitTooLong": "visema_client.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Load a public name. Raises: AttributeError: there is none such."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
