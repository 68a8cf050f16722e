"""One device, many jobs: they take turns, wait for memory, and one that does not fit harms no other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import grpc
import pytest
from support.accelerator import FakeMemory
from support.lipsync import FRAMES, PER_SEGMENT, Client, lipsync_service, settings_for
from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineDescription, EngineRegistry
from visema_kit.errors import DeviceBusy, ResourceExhausted
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.status import from_rpc_error
from visema_wav2lip.engines.protocol import Frame, LipSyncEngine, SegmentPart
from visema_wav2lip.pipeline import Workers

PATIENCE_S = 50.0

Apply = Callable[[int, Sequence[Frame]], list[Frame]]


class Session:
    """Hands the frames of a clip to `apply`, with the clip's length."""

    warnings = ()

    def __init__(self, frame_count: int, apply: Apply) -> None:
        self._frame_count, self._apply = frame_count, apply

    def apply(self, parts: Sequence[SegmentPart]) -> list[Frame]:
        return self._apply(self._frame_count, [frame for part in parts for frame in part.wanted_frames])

    def cancel(self) -> None:
        """Pieces are short."""


class Engine:
    """An engine that computes with `apply`."""

    crosses_segments = False

    def __init__(self, apply: Apply, meter: DeviceMeter | None = None) -> None:
        self._apply, self._meter = apply, meter or DeviceMeter()

    def describe(self) -> EngineDescription:
        return EngineDescription("fake", "1", "MIT", "", "cpu")

    def check_room(self) -> None:
        self._meter.check_room()

    def frames_per_call(self, _frame_pixels: int) -> int:
        return 4

    def open(self, *clip: object) -> Session:
        frame_count = clip[4]
        assert isinstance(frame_count, int)
        return Session(frame_count, self._apply)


def only(engine: LipSyncEngine) -> EngineRegistry[LipSyncEngine]:
    """A registry with one engine."""
    return EngineRegistry("embedded", engine, lambda: engine)


class TurnTaking:
    """Counts the pieces of two clips. A piece ends once the other clip waits for the device or has all its frames."""

    def __init__(self, lengths: tuple[int, int]) -> None:
        self.workers = Workers.start()
        self.pieces: list[int] = []  # length of the clip that each belongs to
        self._left = dict(zip(lengths, lengths, strict=True))

    def apply(self, clip: int, frames: Sequence[Frame]) -> list[Frame]:
        self.pieces.append(clip)
        self._left[clip] -= len(frames)
        end = time.monotonic() + PATIENCE_S
        while not self.workers.device.waiting and any(left for other, left in self._left.items() if other != clip):
            assert time.monotonic() < end, "the other job never asks for the device"
            time.sleep(0.001)
        return list(frames)


async def test_a_long_job_and_a_short_one_take_turns(object_store: ObjectStore, store_config: StoreConfig) -> None:
    long, short = FRAMES, 2 * PER_SEGMENT
    turns = TurnTaking((long, short))
    settings = settings_for(store_config, engine="embedded")
    async with lipsync_service(object_store, settings, only(Engine(turns.apply)), turns.workers) as client:
        other = Client(client.stub, client.store)
        segments, few = await client.segments(), (await other.segments())[:2]
        opened, brief = await client.opening(), await other.opening(frame_count=short)
        await asyncio.gather(client.sync(opened, segments), other.sync(brief, few))
    assert (turns.pieces.count(long), turns.pieces.count(short)) == (9, 6)
    both_begun = max(turns.pieces.index(long), turns.pieces.index(short))  # opening a clip is a turn, too
    short_ended = len(turns.pieces) - turns.pieces[::-1].index(short)
    contested = turns.pieces[both_begun:short_ended]
    assert contested.count(short) >= 4
    assert all(one != next_one for one, next_one in pairwise(contested))


async def refused(client: Client) -> Exception:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.sync(await client.opening(), await client.segments())
    return from_rpc_error(caught.value)


async def test_a_call_is_refused_with_a_delay_while_the_device_has_no_memory(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    meter, memory = DeviceMeter(), FakeMemory()
    meter.watch(memory)
    meter.measure_frame(lambda: None)
    engine = Engine(lambda _clip, frames: list(frames), meter)
    settings = settings_for(store_config, engine="embedded")
    async with lipsync_service(object_store, settings, only(engine), Workers.start()) as client:
        error = await refused(client)
        assert isinstance(error, DeviceBusy)  # the orchestrator waits for as long as the job may take
        assert error.retry_after_s > 0
        memory.free = 1
        replies = await client.sync(await client.opening(), await client.segments())
    assert replies[-1].summary.frame_count == FRAMES


async def test_a_job_that_does_not_fit_fails_and_the_next_one_succeeds(
    object_store: ObjectStore, store_config: StoreConfig
) -> None:
    torch = pytest.importorskip("torch", reason="only neural engines run out of device memory")
    from visema_kit.torch_device import Batches

    roomy = threading.Event()
    batches = Batches("fake", 4)

    def compute(frames: Sequence[Frame]) -> list[Frame]:
        if not roomy.is_set():
            raise torch.OutOfMemoryError("too much")
        return list(frames)

    def apply(_clip: int, frames: Sequence[Frame]) -> list[Frame]:
        parts = batches.run(len(frames), lambda part: compute(frames[part]))
        return [frame for part in parts for frame in part]

    settings = settings_for(store_config, engine="embedded")
    async with lipsync_service(object_store, settings, only(Engine(apply)), Workers.start()) as client:
        assert type(await refused(client)) is ResourceExhausted
        roomy.set()
        replies = await client.sync(await client.opening(), await client.segments())
    assert replies[-1].summary.frame_count == FRAMES
