"""The one error tree of VISEMA. Knows no RPC library: `visema_kit.status` maps it to gRPC.

VisemaError
├── InvalidInput            INVALID_ARGUMENT
│   ├── NoFaceFound, SeveralFaces, ImageTooLarge
│   ├── AudioTooShort, AudioTooLong
│   ├── MediaUnreadable, MediaNotAllowed, MediaTooLarge
│   └── CreditExceeded
├── NotFound                NOT_FOUND
│   ├── ObjectNotFound, AvatarNotFound, JobNotFound, VoiceNotFound
├── ForeignObject           PERMISSION_DENIED
├── Unauthenticated         UNAUTHENTICATED
├── RequestIdReused         ALREADY_EXISTS
├── PreconditionFailed      FAILED_PRECONDITION
│   ├── ObjectMismatch, CheckpointMissing, LicenseNotAccepted, JobNotEnded
├── ObjectCorrupt           DATA_LOSS
├── ResourceExhausted       RESOURCE_EXHAUSTED
│   ├── QueueFull, DeviceBusy
├── Unavailable             UNAVAILABLE
│   ├── StoreUnavailable, StageUnavailable
├── DeadlineExceeded        DEADLINE_EXCEEDED
└── InternalError           INTERNAL
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import ClassVar

DOMAIN = "visema.internal"


class Code(enum.Enum):
    """Canonical status codes, named as in google.rpc.Code; the value is the wire number."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class VisemaError(Exception):
    """Root of all errors that a caller may see.

    Args:
        message: One sentence for a person; holds no secrets.
        metadata: Machine-readable facts for ErrorInfo, e.g. `{"limit": "60"}`.
        field: Path of the request field that is wrong, e.g. `spec.audio`; makes a BadRequest detail.
        retry_after_s: Delay before a retry makes sense; makes a RetryInfo detail when above 0.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        field: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidInput(VisemaError):
    """A request field has a value that cannot be used."""

    code, reason = Code.INVALID_ARGUMENT, "INVALID_INPUT"


class NoFaceFound(InvalidInput):
    """The picture shows no human face."""

    reason = "NO_FACE_FOUND"


class SeveralFaces(InvalidInput):
    """The picture shows several faces and none was chosen."""

    reason = "SEVERAL_FACES"


class ImageTooLarge(InvalidInput):
    """The picture has too many bytes or pixels."""

    reason = "IMAGE_TOO_LARGE"


class AudioTooShort(InvalidInput):
    """The audio is shorter than the minimum."""

    reason = "AUDIO_TOO_SHORT"


class AudioTooLong(InvalidInput):
    """The audio is longer than the limit."""

    reason = "AUDIO_TOO_LONG"


class MediaUnreadable(InvalidInput):
    """The file is damaged or of no known format."""

    reason = "MEDIA_UNREADABLE"


class MediaNotAllowed(InvalidInput):
    """The file is of a known format that is not accepted here."""

    reason = "MEDIA_NOT_ALLOWED"


class MediaTooLarge(InvalidInput):
    """The file or object has more bytes than are accepted here."""

    reason = "MEDIA_TOO_LARGE"


class CreditExceeded(InvalidInput):
    """The client sent more segments than the server had given it credit for."""

    reason = "CREDIT_EXCEEDED"


class NotFound(VisemaError):
    """Something that the request names does not exist."""

    code, reason = Code.NOT_FOUND, "NOT_FOUND"


class ObjectNotFound(NotFound):
    """The object is not in the store."""

    reason = "OBJECT_NOT_FOUND"


class AvatarNotFound(NotFound):
    """No such avatar in the caller's tenant."""

    reason = "AVATAR_NOT_FOUND"


class JobNotFound(NotFound):
    """No such job in the caller's tenant."""

    reason = "JOB_NOT_FOUND"


class VoiceNotFound(NotFound):
    """No such voice."""

    reason = "VOICE_NOT_FOUND"


class ForeignObject(VisemaError):
    """The object belongs to another tenant or bucket."""

    code, reason = Code.PERMISSION_DENIED, "FOREIGN_OBJECT"


class Unauthenticated(VisemaError):
    """The call carries no valid token."""

    code, reason = Code.UNAUTHENTICATED, "UNAUTHENTICATED"


class RequestIdReused(VisemaError):
    """The request id was used before with another body."""

    code, reason = Code.ALREADY_EXISTS, "REQUEST_ID_REUSED"


class PreconditionFailed(VisemaError):
    """The system is not in a state that allows the request."""

    code, reason = Code.FAILED_PRECONDITION, "PRECONDITION_FAILED"


class ObjectMismatch(PreconditionFailed):
    """A client's reference has a hash or size that the object does not have."""

    reason = "OBJECT_MISMATCH"


class CheckpointMissing(PreconditionFailed):
    """A neural engine was asked for and its weights are absent or wrong."""

    reason = "CHECKPOINT_MISSING"


class LicenseNotAccepted(PreconditionFailed):
    """Weights with a restricting licence were asked for and the licence was not accepted."""

    reason = "LICENSE_NOT_ACCEPTED"


class JobNotEnded(PreconditionFailed):
    """The job is still queued or running."""

    reason = "JOB_NOT_ENDED"


class ObjectCorrupt(VisemaError):
    """One of our own objects does not have the content that was written."""

    code, reason = Code.DATA_LOSS, "OBJECT_CORRUPT"


class ResourceExhausted(VisemaError):
    """No capacity at the moment."""

    code, reason, retryable = Code.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", True


class QueueFull(ResourceExhausted):
    """The job queue is full."""

    reason = "QUEUE_FULL"


class DeviceBusy(ResourceExhausted):
    """The stage serves as many streams as it can, or has no memory for one more."""

    reason = "DEVICE_BUSY"


class Unavailable(VisemaError):
    """Something that is needed does not answer."""

    code, reason, retryable = Code.UNAVAILABLE, "UNAVAILABLE", True


class StoreUnavailable(Unavailable):
    """The object store or the database does not answer."""

    reason = "STORE_UNAVAILABLE"


class ScratchFull(Unavailable):
    """A service's disk for files that are being written is full."""

    reason = "SCRATCH_FULL"


class StageUnavailable(Unavailable):
    """A stage service does not answer."""

    reason = "STAGE_UNAVAILABLE"


class DeadlineExceeded(VisemaError):
    """The time that the caller allowed has passed."""

    code, reason = Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"


class InternalError(VisemaError):
    """A defect on our side; the log has the details."""

    code, reason = Code.INTERNAL, "INTERNAL"


def error_classes(root: type[VisemaError] = VisemaError) -> Iterator[type[VisemaError]]:
    """All classes of this module below `root`, parents before children; the root itself is left out.

    Only these travel between processes; a client may derive some that never do.
    """
    for child in root.__subclasses__():
        if child.__module__ == __name__:
            yield child
            yield from error_classes(child)


def error_class(reason: str) -> type[VisemaError] | None:
    """The class with this reason; None when there is none."""
    return next((known for known in error_classes() if known.reason == reason), None)
