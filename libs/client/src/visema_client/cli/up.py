"""`visema up`: the whole stack on this machine until Ctrl-C."""
# ruff: noqa: PLC0415  # commands import what they need when they run: `visema --help` must not wait for gRPC

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visema_client.cli import options
from visema_client.cli.guard import guarded

WATCH_S = 0.5


@guarded
def up(
    *,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the orchestrator; 0 takes a free one.")
    ] = 50051,
    http_port: Annotated[
        int, typer.Option("--http-port", min=0, max=65535, help="Port of REST and the web page; 0 takes a free one.")
    ] = 8080,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder for jobs, avatars and videos.", show_default="in your data folder"),
    ] = None,
    temporary: Annotated[bool, typer.Option("--temporary", help="Keep nothing: a folder that is removed.")] = False,
    engine: options.EngineOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Run object store, stages, orchestrator and gateway on this machine's loopback interface until Ctrl-C."""
    import time

    from visema_client.cli.output import notes, print_json, results
    from visema_client.localstack import LocalStack, StackOptions, default_folder

    folder = None if temporary else state or default_folder()
    variables = {"VISEMA_ENGINE": engine} if engine else {}
    stack = LocalStack(StackOptions(folder=folder, port=port, gateway_port=http_port, variables=variables))
    started = time.perf_counter()
    try:
        with notes().status("starting the stack"):
            stack.start()
        if as_json:
            print_json(
                {
                    "server": stack.address,
                    "url": stack.url,
                    "store": stack.store_endpoint,
                    "folder": str(stack.folder),
                    "services": {
                        name: {"grpc": service.address, "metrics": service.metrics_url}
                        for name, service in stack.services.items()
                    },
                }
            )
        else:
            console = results()
            console.print(f"VISEMA is up after {time.perf_counter() - started:.1f} s; Ctrl-C stops it.")
            console.print(f"  {'web page, REST':<14} {stack.url}")
            for name, service in stack.services.items():
                console.print(f"  {name:<14} {service.address:<18} {service.metrics_url}", soft_wrap=True)
            console.print(f"  {'object store':<14} {stack.store_endpoint}")
            console.print(f"  {'files':<14} {stack.folder}", soft_wrap=True)
            console.print(f"Try: visema generate PORTRAIT AUDIO -o out.mp4 --server {stack.address}", soft_wrap=True)
        while True:
            time.sleep(WATCH_S)
            stack.check()
    except KeyboardInterrupt:
        notes().print("stopping")  # what the user asked for: no error
    finally:
        stack.stop()
