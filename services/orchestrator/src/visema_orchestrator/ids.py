"""Identifiers of jobs, avatars and uploads."""

from __future__ import annotations

import secrets

from visema_orchestrator.store.database import now_us


def new_id() -> str:
    """32 hexadecimal digits that rise with time: 14 for the microsecond, 18 random."""
    return f"{now_us():014x}{secrets.token_hex(9)}"
