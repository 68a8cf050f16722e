"""Says that it serves, and does nothing until SIGTERM."""

import json
import os
import signal
import time
from pathlib import Path

stopping = []


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    Path(os.environ["VISEMA_PORT_FILE"]).write_text(json.dumps({"grpc": os.environ["VISEMA_LISTEN"]}))
    while not stopping:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
