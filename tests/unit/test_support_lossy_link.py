"""The bad network of `make test-network`, without a network: delay, order, loss, and a cable that is pulled."""

from __future__ import annotations

from support.lossy_link import LossyLink

PACKETS = [bytes([number >> 8, number & 255]) for number in range(5000)]


def through(link: LossyLink) -> list[bytes]:
    """What arrives of all packets."""
    for packet in PACKETS:
        link.enter(packet, 0.0)
    return link.leave(1.0)


def test_packets_leave_in_order_when_their_time_has_come() -> None:
    link = LossyLink(delay_s=0.5, loss=0.0, seed=1)
    link.enter(b"first", 10.0)
    link.enter(b"second", 10.25)
    assert link.leave(10.25) == []
    assert link.pause_s(10.25) == 0.25
    assert link.leave(10.5) == [b"first"]
    assert link.leave(11.0) == [b"second"]
    assert link.pause_s(11.0) is None


def test_a_packet_that_is_late_is_not_waited_for() -> None:
    link = LossyLink(delay_s=0.5, loss=0.0, seed=1)
    link.enter(b"late", 10.0)
    assert link.pause_s(20.0) == 0.0


def test_the_share_that_was_asked_for_is_lost() -> None:
    link = LossyLink(delay_s=0.5, loss=0.02, seed=1)
    arrived = through(link)
    assert len(arrived) == link.carried.packets
    assert link.carried.lost == len(PACKETS) - len(arrived)
    assert 50 < link.carried.lost < 150  # 100 are expected, with a deviation of 10
    assert arrived == sorted(arrived)


def test_the_same_seed_loses_the_same_packets_and_another_one_others() -> None:
    first, again, other = (through(LossyLink(delay_s=0.5, loss=0.02, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_pulled_cable_loses_what_enters_and_what_is_on_its_way() -> None:
    link = LossyLink(delay_s=0.5, loss=0.0, seed=1)
    link.enter(b"on its way", 0.0)
    link.up = False
    link.enter(b"too late", 0.25)
    assert link.leave(0.5) == []
    link.up = True
    link.enter(b"again", 1.0)
    assert link.leave(1.5) == [b"again"]
    assert (link.carried.packets, link.carried.cut_off) == (1, 2)
