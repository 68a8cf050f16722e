"""`make test-network`: jobs through a stack whose parts see each other over a slow network that loses packets.

Two network namespaces of Linux, linked by this program alone (support/two_networks.py): 100 ms each way, 1 % of the
packets lost, and for a while a pulled cable. Needs Linux, root, /dev/net/tun, and the commands ip, unshare and nsenter.
It touches no other network of the machine and runs in a PID namespace of its own: nothing outlives it, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from network_checks import SWEEP_INTERVAL_S, Site, check_cancelling, check_deadlines, check_outage, check_whole_job, say
from support.lossy_link import LossyLink
from support.real_stack import SERVICES, STAGES, RealStack, running_stack_of
from support.seaweed import running_weed
from support.two_networks import FAR_HOST, TUN, TwoNetworks, two_networks

INSIDE = "--inside"  # the namespaces are there
STORE = "store"
SWEEPING = {"VISEMA_SWEEP_INTERVAL_S": str(SWEEP_INTERVAL_S)}


@dataclass(frozen=True)
class Layout:
    """Which parts are far from this program, which is the client, and videos that take some time there."""

    name: str
    far: frozenset[str]
    size_px: int
    speech_s: int


LAYOUTS = {
    "stages": Layout("stages | orchestrator, store, client", frozenset(STAGES), 256, 5),
    "compute": Layout("stages, store | orchestrator, client", frozenset({*STAGES, STORE}), 512, 30),
    "client": Layout("stages, store, orchestrator | client", frozenset({*SERVICES, STORE}), 512, 30),
}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS), help="who is beside whom")
    parser.add_argument("--delay-ms", type=float, default=100.0, help="each way")
    parser.add_argument("--loss", type=float, default=0.01, help="share of the packets that are lost, each way")
    parser.add_argument("--seed", type=int, default=1, help="which packets are lost")
    parser.add_argument("--outages-s", type=float, nargs="*", default=[8.0, 60.0], help="how long the cable is pulled")
    parser.add_argument("--congestion", default="reno", help="TCP's congestion control; every kernel has reno")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def enter_namespaces() -> None:
    """Start again in network and process namespaces of our own. Raises: SystemExit: what is missing."""
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not TUN.exists():
        sys.exit(f"needs root, {TUN} and the commands ip, unshare and nsenter" + "".join(f"; no {n}" for n in missing))
    own = ("--net", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child")
    os.execvp("unshare", ["unshare", *own, sys.executable, *sys.argv, INSIDE])  # noqa: S606  # no shell is wanted


@contextmanager
def running_site(layout: Layout, networks: TwoNetworks) -> Iterator[Site]:
    """The whole stack, spread over the two networks."""
    places = {part: networks.far if part in layout.far else networks.near for part in (*SERVICES, STORE)}
    with tempfile.TemporaryDirectory() as folder:
        (store_folder := Path(folder, "store")).mkdir()
        (stack_folder := Path(folder, "stack")).mkdir()
        with (
            running_weed(store_folder, place=places[STORE]) as store,
            running_stack_of(RealStack(stack_folder, store, SWEEPING, places=places)) as stack,
        ):
            yield Site(networks, stack, places, layout.size_px, layout.speech_s, Path(folder))


def measured_round_trip_s(networks: TwoNetworks) -> float:
    """How long a connection takes to be refused, at best of some: a lost packet costs a second."""

    def once() -> float:
        started = time.monotonic()
        with socket.socket() as probe:
            probe.connect_ex((FAR_HOST, 9))
        return time.monotonic() - started

    return min(once() for _ in range(3))


async def check(site: Site, outages_s: list[float]) -> None:
    """Everything, in one layout."""
    await check_whole_job(site)
    await check_cancelling(site)
    await check_deadlines(site)
    for outage_s in outages_s:
        await check_outage(site, outage_s)


def main() -> None:
    """Two networks for each layout, and the checks in them."""
    options = arguments()
    if not options.inside:
        enter_namespaces()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # process 1 of a namespace would ignore it
    for name in options.layouts:
        layout = LAYOUTS[name]
        delay_s = options.delay_ms / 1000
        links = [LossyLink(delay_s, options.loss, seed) for seed in (options.seed, options.seed + 1)]
        with two_networks(*links, congestion=options.congestion) as networks:
            round_trip_ms = measured_round_trip_s(networks) * 1000
            say(f"{layout.name}: {layout.speech_s} s of {layout.size_px} px, round trip {round_trip_ms:.0f} ms")
            with running_site(layout, networks) as site:
                try:
                    asyncio.run(check(site, options.outages_s))
                except Exception:
                    for service in SERVICES:
                        say(f"the end of what {service} wrote:\n{site.stack.log(service)}")
                    raise
            carried, lost = (sum(getattr(link.carried, of) for link in links) for of in ("packets", "lost"))
            say(
                f"{carried} packets carried, {lost} lost ({lost / (carried + lost):.1%}),"
                f" {sum(link.carried.cut_off for link in links)} cut off;"
                f" TCP sent {networks.repeated_segments()} segments again"
            )
    say("all is well")


if __name__ == "__main__":
    main()
