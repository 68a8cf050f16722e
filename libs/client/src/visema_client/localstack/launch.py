"""Runs a service as `python -m SERVICE` would, but imports it while the object store is still starting.

A service asks for the store when it starts and fails where there is none. Importing takes about as long as the store
needs; one after the other would double the time until a stack is ready. Arguments: SERVICE STORE_PORT.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time

from visema_client.localstack.ports import accepts

POLL_S = 0.02


def main() -> None:
    """Import, wait for the store, run. The owner of the stack ends the process when the wait is too long."""
    module, store_port = sys.argv[1], int(sys.argv[2])
    start = f"{module}.__main__"
    importlib.import_module(start)  # defines things only: imports do nothing
    while not accepts(store_port):
        time.sleep(POLL_S)
    del sys.modules[start]  # runs a second time, now as the program; what it imports stays loaded
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
