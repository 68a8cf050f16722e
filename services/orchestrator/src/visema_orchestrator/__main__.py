"""`python -m visema_orchestrator`: takes jobs until SIGTERM."""

from __future__ import annotations

import asyncio

from visema_kit.logs import configure_logs
from visema_kit.server import run_service
from visema_kit.settings import load_settings

from visema_orchestrator.app import Orchestrator
from visema_orchestrator.settings import OrchestratorSettings


async def main() -> None:
    """Serve with the settings of the environment."""
    settings = load_settings(OrchestratorSettings)
    configure_logs("orchestrator", settings.log_level)
    await run_service(Orchestrator(settings).spec())


if __name__ == "__main__":
    asyncio.run(main())
