"""Exit codes, and errors as one sentence with a hint."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from visema_kit.errors import Code, VisemaError


class Exit(enum.IntEnum):
    """What the exit status of `visema` says. docs/cli.md lists them."""

    DONE = 0
    FAILED = 1
    INPUT_REFUSED = 2
    NO_SERVER = 3
    NOT_FOUND = 4
    NOT_ALLOWED = 5
    NO_CAPACITY = 6
    INTERRUPTED = 130
    TERMINATED = 143


_EXITS = {
    Code.INVALID_ARGUMENT: Exit.INPUT_REFUSED,
    Code.ALREADY_EXISTS: Exit.INPUT_REFUSED,
    Code.UNAVAILABLE: Exit.NO_SERVER,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.PERMISSION_DENIED: Exit.NOT_ALLOWED,
    Code.UNAUTHENTICATED: Exit.NOT_ALLOWED,
    Code.RESOURCE_EXHAUSTED: Exit.NO_CAPACITY,
    Code.DEADLINE_EXCEEDED: Exit.NO_CAPACITY,
}

_HINTS = {
    "NO_FACE_FOUND": "Use a picture that shows a human face from the front, at least 100 pixels wide.",
    "SEVERAL_FACES": "Choose one with --face largest, or --face 0, 1, … counted from the left.",
    "IMAGE_TOO_LARGE": "Make the picture smaller: at most 5 MB and 40 megapixels.",
    "AUDIO_TOO_SHORT": "Use speech of at least 0.2 seconds.",
    "AUDIO_TOO_LONG": "Cut the speech: the limit is 60 seconds unless the server says otherwise.",
    "MEDIA_UNREADABLE": "Open the file in a viewer or player; if it opens there, save it anew.",
    "MEDIA_NOT_ALLOWED": "Pictures may be JPEG, PNG or WebP; audio WAV, MP3, FLAC, OGG or M4A.",
    "VOICE_NOT_FOUND": "`visema voices` lists the voices.",
    "QUEUE_FULL": "Try again later.",
    "DEVICE_BUSY": "Try again later.",
    "UNAUTHENTICATED": "Give a token with --token or VISEMA_TOKEN.",
    "CHECKPOINT_MISSING": "Install the checkpoints, or use --engine embedded.",
    "LICENSE_NOT_ACCEPTED": "VISEMA_ACCEPT_LICENSES names the licences that you accept. Or use --engine embedded.",
    "JOB_NOT_ENDED": "Cancel the job first: visema jobs cancel.",
    "STAGE_UNAVAILABLE": "Look at the stage's log, or run `visema doctor`.",
    "STORE_UNAVAILABLE": "Check that the object store and the database run.",
    "UNAVAILABLE": "Check the address and that the server runs (`visema up` starts one here).",
    "INTERNAL": "This is a defect: the server's log has the details.",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error as a person reads it.

    Attributes:
        message: One sentence.
        exit_code: Exit status of the command.
        hint: What to do; may be empty.
        reason: Machine-readable reason, as in docs/errors.md.
        details: Further text, e.g. the end of a log.
        metadata: Machine-readable facts.
    """

    message: str
    exit_code: Exit
    hint: str = ""
    reason: str = ""
    details: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> Complaint | None:
        """What to say about an error; None when it is a defect of ours that deserves its traceback."""
        from visema_client.localstack.errors import LocalStackError  # noqa: PLC0415  # only for complaints

        match error:
            case VisemaError():
                return cls(
                    error.message,
                    _EXITS.get(error.code, Exit.FAILED),
                    _HINTS.get(error.reason, ""),
                    error.reason,
                    metadata=error.metadata,
                )
            case LocalStackError():
                return cls(error.message, Exit.NO_SERVER, error.hint, "LOCAL_STACK", error.log_tail)
            case OSError():
                name = f"{error.filename}: " if error.filename else ""
                return cls(f"{name}{error.strerror or error}", Exit.INPUT_REFUSED, reason="FILE")
            case ValueError():
                return cls(str(error), Exit.INPUT_REFUSED, reason="USAGE")
            case _:
                return None
