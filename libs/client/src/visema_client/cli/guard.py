"""What every command has around it: signals, errors as one sentence, exit codes."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec

import typer

from visema_client.cli.exits import Complaint, Exit
from visema_client.cli.output import complain, notes

P = ParamSpec("P")

DEBUG_VARIABLE = "VISEMA_DEBUG"


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt it unwinds everything, so that a private stack is stopped."""


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Run a command so that it ends with a documented exit code and never with a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        previous = signal.signal(signal.SIGTERM, _on_sigterm)
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            notes().print("interrupted")
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Terminated:
            raise typer.Exit(Exit.TERMINATED) from None
        except BrokenPipeError:  # the reader of our output, e.g. `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.FAILED) from None
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            complaint = Complaint.of(error) or Complaint(
                f"unexpected {type(error).__name__}: {error}",
                Exit.FAILED,
                f"This is a defect; {DEBUG_VARIABLE}=1 shows where it happened.",
                "INTERNAL",
            )
            complain(complaint, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(complaint.exit_code) from None
        finally:
            signal.signal(signal.SIGTERM, previous)

    return run


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
