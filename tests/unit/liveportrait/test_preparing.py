"""Prepared portraits are kept while there is memory, and forgotten when one does not fit any more."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from visema_kit.engines import EngineDescription
from visema_kit.errors import ResourceExhausted
from visema_liveportrait.animation import PieceRenderer, PreparedKey, Preparer
from visema_liveportrait.engines.protocol import RenderedFrames
from visema_liveportrait.faces import AnalysedPortrait
from visema_liveportrait.motion_plan import MotionPlan
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import MotionSettings
from visema_media.face import FaceLandmarks
from visema_media.framing import FramedPortrait, Framing
from visema_media.track import FaceTrack


@dataclass(eq=False)
class Portrait:
    """Takes one place on the device."""

    size_bytes: int = 1

    device: Device | None = None

    def render(self, plan: MotionPlan, first: int, count: int) -> RenderedFrames:
        """Frames take a place of their own."""
        del plan, first
        if self.device is None or self.device.kept >= self.device.places:
            raise ResourceExhausted("The device has no memory for a frame.")
        track = FaceTrack(np.zeros(1, np.int32), np.zeros((count, 1, 2), np.float32), np.zeros((count, 4), np.float32))
        return RenderedFrames(np.zeros((count, 8, 8, 3), np.uint8), track)


class Device:
    """An engine on a device with so many places for portraits, of which other processes hold some."""

    def __init__(self, preparer: Preparer, places: int) -> None:
        self.preparer, self.places = preparer, places
        self.prepared: list[Portrait] = []

    @property
    def kept(self) -> int:
        return sum(self.preparer.holds(key(number)) for number in range(10))

    def describe(self) -> EngineDescription:
        return EngineDescription("fake", "1", "MIT", "", "cpu")

    def check_room(self) -> None:
        """There is."""

    def prepare(self, portrait: FramedPortrait) -> Portrait:
        del portrait
        if self.kept >= self.places:
            raise ResourceExhausted("The device has no memory for it.")
        self.prepared.append(Portrait(device=self))
        return self.prepared[-1]


def key(number: int) -> PreparedKey:
    return PreparedKey(str(number), 0, Framing.FULL_PICTURE, 256, ("fake", "1", ""))


@pytest.fixture
def picture() -> AnalysedPortrait:
    points = np.random.default_rng(0).uniform(64, 192, (478, 3)).astype(np.float32)
    return AnalysedPortrait(np.zeros((256, 256, 3), np.uint8), (FaceLandmarks(points, 1.0),), ())


def test_a_prepared_portrait_is_not_prepared_again(picture: AnalysedPortrait) -> None:
    preparer = Preparer(10)
    device = Device(preparer, 2)
    first = preparer.prepare(key(1), device, picture)
    assert preparer.prepare(key(1), device, picture) is first
    assert len(device.prepared) == 1


def test_portraits_are_forgotten_for_one_that_does_not_fit(picture: AnalysedPortrait) -> None:
    preparer = Preparer(10)
    device = Device(preparer, 2)
    for number in (1, 2, 3):
        preparer.prepare(key(number), device, picture)
    assert [preparer.holds(key(number)) for number in (1, 2, 3)] == [False, False, True]


def test_a_portrait_that_never_fits_fails_and_the_next_one_is_prepared(picture: AnalysedPortrait) -> None:
    preparer = Preparer(10)
    device = Device(preparer, 0)
    with pytest.raises(ResourceExhausted):
        preparer.prepare(key(1), device, picture)
    device.places = 1
    assert preparer.prepare(key(1), device, picture) is device.prepared[0]


def test_portraits_are_forgotten_for_a_frame_that_does_not_fit(picture: AnalysedPortrait) -> None:
    preparer = Preparer(10)
    device = Device(preparer, 2)
    _, second = (preparer.prepare(key(number), device, picture) for number in (1, 2))
    renderer = PieceRenderer(second, MotionPlanner(MotionSettings(), Fraction(10), 10), preparer)
    assert len(renderer.piece(0, 4).frames) == 1
    assert device.kept == 0
    device.places = 0
    with pytest.raises(ResourceExhausted):
        renderer.piece(1, 3)
