"""One direction of a bad network, without the network: which packets come out, and when."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass


@dataclass
class Carried:
    """What a link has done with the packets that entered it."""

    packets: int = 0
    lost: int = 0
    cut_off: int = 0


class LossyLink:
    """Packets leave in their order, each `delay_s` after it entered, unless it is lost.

    Times are seconds of any one clock that never goes back; none is read here.

    Args:
        delay_s: Time on the way.
        loss: Share of packets that never arrive, 0 to 1.
        seed: The same seed loses the packets with the same numbers.

    Attributes:
        up: While it is False nothing enters and nothing leaves, as with a cable that is pulled.
        carried: Counts.
    """

    def __init__(self, delay_s: float, loss: float, seed: int) -> None:
        self.up = True
        self.carried = Carried()
        self._delay_s = delay_s
        self._loss = loss
        self._dice = random.Random(seed)
        self._on_the_way: deque[tuple[float, bytes]] = deque()

    def enter(self, packet: bytes, now_s: float) -> None:
        """A packet comes in."""
        if not self.up:
            self.carried.cut_off += 1
        elif self._dice.random() < self._loss:
            self.carried.lost += 1
        else:
            self._on_the_way.append((now_s + self._delay_s, packet))

    def leave(self, now_s: float) -> list[bytes]:
        """The packets whose time has come."""
        arrived = []
        while self._on_the_way and self._on_the_way[0][0] <= now_s:
            arrived.append(self._on_the_way.popleft()[1])
        if not self.up:
            self.carried.cut_off += len(arrived)
            return []
        self.carried.packets += len(arrived)
        return arrived

    def pause_s(self, now_s: float) -> float | None:
        """Time until the next packet may leave; None while there is none."""
        return max(0.0, self._on_the_way[0][0] - now_s) if self._on_the_way else None
