"""One check of this machine."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """What a check found."""

    GOOD = "good"
    NOTE = "note"  # a job runs, though not as well as it could
    BAD = "bad"  # no job runs


@dataclass(frozen=True, slots=True)
class Check:
    """A check's result.

    Attributes:
        name: What was looked at.
        verdict: What was found.
        found: The same in words.
        mend: How to mend it; empty where nothing needs to be.
    """

    name: str
    verdict: Verdict
    found: str
    mend: str = ""


def good(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Verdict.GOOD, found)


def note(name: str, found: str, mend: str) -> Check:
    """Jobs run, though not as well as they could."""
    return Check(name, Verdict.NOTE, found, mend)


def bad(name: str, found: str, mend: str) -> Check:
    """No job runs."""
    return Check(name, Verdict.BAD, found, mend)
