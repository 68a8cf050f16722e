"""Two Linux networks (namespaces) whose only link is this process: it delays IP packets and loses some of them.

TCP itself then has to wait and to repeat. The kernel's own netem would do the same where it is built in. Needs root, a
network namespace of this process's own, and /dev/net/tun. Both networks end with this process.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.lossy_link import LossyLink
from support.place import Place

NEAR, FAR = "near", "far"  # names of the devices, and of the networks
NEAR_HOST, FAR_HOST = "198.18.0.1", "198.18.0.2"  # from the range for measurements of networks (RFC 2544)
MTU = 1500
QUEUE_PACKETS = 10_000  # a sender must not lose packets before the link does
TUN = Path("/dev/net/tun")

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_HEADER = 0x0001 | 0x1000
_INTERFACE_REQUEST = "16sH22x"


@dataclass(frozen=True)
class TwoNetworks:
    """Attributes:
    near: The network of this process.
    far: The other one.
    to_far: The way from near to far.
    to_near: The way back.
    """

    near: Place
    far: Place
    to_far: LossyLink
    to_near: LossyLink

    def pull_cable(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self.to_far.up = self.to_near.up = False

    def plug_in(self) -> None:
        """The link carries packets again."""
        self.to_far.up = self.to_near.up = True

    def repeated_segments(self) -> int:
        """How many pieces TCP has sent again, on both sides."""
        return sum(_repeated_segments(place) for place in (self.near, self.far))


@contextmanager
def two_networks(to_far: LossyLink, to_near: LossyLink, congestion: str = "reno") -> Iterator[TwoNetworks]:
    """Make the far network and carry packets between it and this process's own while the block runs.

    Args: congestion: TCP's congestion control in both; reno is in every kernel and suffers most from losses.
    Raises: OSError: no TUN devices here. subprocess.CalledProcessError: no right to set the networks up.
    """
    near = Place(NEAR_HOST)
    near_end, far_end = _tun(NEAR), _tun(FAR)
    with _another_network() as pid:
        try:
            _call("ip", "link", "set", FAR, "netns", str(pid))
            far = Place(FAR_HOST, ("nsenter", f"--net=/proc/{pid}/ns/net", "--"))
            _set_up(near, NEAR, FAR_HOST, congestion)
            _set_up(far, FAR, NEAR_HOST, congestion)
            carrier = _Carrier([(near_end, far_end, to_far), (far_end, near_end, to_near)])
            with carrier.running():
                yield TwoNetworks(near, far, to_far, to_near)
        finally:
            os.close(near_end)
            os.close(far_end)


class _Carrier:
    """A thread that takes packets from each device and gives them to the other when their time has come."""

    def __init__(self, ways: list[tuple[int, int, LossyLink]]) -> None:
        self._ways = ways
        self._stop_read, self._stop_write = os.pipe()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Carry packets while the block runs."""
        thread = threading.Thread(target=self._carry, name="link", daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(self._stop_write)
            thread.join()
            os.close(self._stop_read)

    def _carry(self) -> None:
        links = {source: link for source, _, link in self._ways}
        while True:
            now_s = time.monotonic()
            pauses = [pause for _, _, link in self._ways if (pause := link.pause_s(now_s)) is not None]
            ready, _, _ = select.select([*links, self._stop_read], [], [], min(pauses, default=None))
            if self._stop_read in ready:
                return
            for source in ready:
                _take(source, links[source])
            for _, target, link in self._ways:
                for packet in link.leave(time.monotonic()):
                    os.write(target, packet)


def _take(source: int, link: LossyLink) -> None:
    """Everything that waits at a device."""
    while True:
        try:
            packet = os.read(source, MTU)
        except BlockingIOError:
            return
        link.enter(packet, time.monotonic())


def _tun(name: str) -> int:
    """A device whose IP packets are read from, and written to, the file descriptor. It goes when that is closed."""
    descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack(_INTERFACE_REQUEST, name.encode(), _IFF_TUN_NO_HEADER))
    return descriptor


@contextmanager
def _another_network() -> Iterator[int]:
    """A process in a network of its own, which lives as long as the process: until the block or this process ends."""
    hold = ["unshare", "--net", "sh", "-c", "echo made; exec cat >&2"]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"made\n":
            raise PermissionError("no right to make a network namespace")
        yield holder.pid


def _set_up(place: Place, device: str, peer: str, congestion: str) -> None:
    _call(*place.command, "ip", "link", "set", "lo", "up")
    # No address of IPv6: its neighbour discovery would be carried and lost as well.
    _call(*place.command, "ip", "link", "set", device, "addrgenmode", "none")
    _call(*place.command, "ip", "address", "add", place.host, "peer", peer, "dev", device)
    _call(*place.command, "ip", "link", "set", device, "mtu", str(MTU), "txqueuelen", str(QUEUE_PACKETS), "up")
    _call(*place.command, "sh", "-c", f"echo {congestion} > /proc/sys/net/ipv4/tcp_congestion_control")


def _repeated_segments(place: Place) -> int:
    text = subprocess.run([*place.command, "cat", "/proc/net/snmp"], capture_output=True, text=True, check=True).stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def _call(*command: str) -> None:
    subprocess.run(command, check=True)
