"""A service process for the tests: `python kit_service.py`, settings from the environment."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.servicers import SERVICES, Script, register
from visema_kit.logs import configure_logs
from visema_kit.server import ServiceSpec, run_service
from visema_kit.settings import ServiceSettings, load_settings


class Held(Script):
    """Each call ends once the file `CALL_UNTIL` exists."""

    async def act(self) -> None:
        while not Path(os.environ["CALL_UNTIL"]).exists():
            await asyncio.sleep(0.01)


async def start() -> None:
    await asyncio.sleep(float(os.environ.get("START_S", "0")))
    if "START_FAILS" in os.environ:
        raise FileNotFoundError("the checkpoint is missing")


async def stop() -> None:
    Path(os.environ["STOP_FILE"]).write_text(str(gc.get_freeze_count()))


async def main() -> None:
    settings = load_settings(ServiceSettings)
    configure_logs("kit-test", settings.log_level)
    script: Any = Held()
    await run_service(
        ServiceSpec(
            "kit-test", SERVICES, lambda server: register(server, script), settings, on_start=start, on_stop=stop
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
