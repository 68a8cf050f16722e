"""`python -m visema_orchestrator`: takes jobs until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from visema_kit.logs import configure_logs
from visema_kit.server import run_service
from visema_kit.settings import load_settings

from visema_orchestrator.app import Orchestrator
from visema_orchestrator.settings import OrchestratorSettings

# Python lets a thread compute for 5 ms before another one's turn: requests that come at once would wait for the
# database's threads again and again.
THREAD_TURN_S = 0.001


async def main() -> None:
    """Serve with the settings of the environment."""
    sys.setswitchinterval(THREAD_TURN_S)
    settings = load_settings(OrchestratorSettings)
    configure_logs("orchestrator", settings.log_level)
    await run_service(Orchestrator(settings).spec())


if __name__ == "__main__":
    asyncio.run(main())
