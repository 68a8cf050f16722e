"""`python -m visema_gateway`: serves REST and the web page until SIGTERM."""

from __future__ import annotations

import asyncio

from visema_kit.logs import configure_logs
from visema_kit.settings import load_settings

from visema_gateway.server import SERVICE, Server
from visema_gateway.settings import GatewaySettings


async def main() -> None:
    """Serve with the settings of the environment."""
    settings = load_settings(GatewaySettings)
    configure_logs(SERVICE, settings.log_level)
    await Server(settings).run()


if __name__ == "__main__":
    asyncio.run(main())
