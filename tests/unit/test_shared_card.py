"""Both neural engines fit a card of 8 GB, alone and together, at any length; with less they take smaller batches.

There need be no card: the services' engines run on torch's `meta` device and every tensor is accounted by the rules of
torch's CUDA allocator (`support.engine_memory`). cuDNN's workspaces are not seen; `copies` stands for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("torch", reason="the neural engines need torch")

import torch
from support.cuda_allocator import MEBIBYTE, Card
from support.engine_memory import (
    META,
    PREPARED_BYTES,
    STREAMS,
    LipProcess,
    PortraitProcess,
    Process,
    portrait_networks,
)
from visema_kit.errors import DeviceBusy
from visema_liveportrait.animation import PieceRenderer, PreparedKey, Preparer
from visema_liveportrait.engines.neural import LivePortraitEngine
from visema_liveportrait.engines.neural_device import CUDA_BATCH, ComputeDevice
from visema_liveportrait.engines.neural_weights import LivePortraitNetworks
from visema_liveportrait.faces import AnalysedPortrait
from visema_liveportrait.motion_planner import MotionPlanner
from visema_liveportrait.motion_settings import MotionSettings
from visema_liveportrait.settings import LiveportraitSettings
from visema_media.face import FaceLandmarks
from visema_media.framing import Framing
from visema_wav2lip.engines import neural as lip_engine
from visema_wav2lip.engines import neural_generator as lips
from visema_wav2lip.model.wav2lip import Wav2Lip

pytestmark = pytest.mark.neural

EIGHT_GB = 8 * 1000**3  # less than the 8 GiB of such a card
CONTEXT_BYTES = 512 * MEBIBYTE  # of CUDA, for each process; published figures are 256 to 500 MB
ALLOWED_BYTES = 3584 * MEBIBYTE  # for both, with portraits and copies: far below 8 GB
SMALL_SHARE_MIB = 640
PIECE = CUDA_BATCH + 1  # frames: a full batch and a rest


@pytest.fixture(scope="module")
def networks() -> Callable[[], LivePortraitNetworks]:
    built = portrait_networks()
    return lambda: copy.deepcopy(built)


@pytest.fixture(scope="module")
def lip_network() -> Wav2Lip:
    return Wav2Lip().eval()


def card(*, others: int = 1) -> Card:
    """A card of 8 GB with the contexts of our processes."""
    return Card(EIGHT_GB, taken_bytes=others * CONTEXT_BYTES)


def test_this_is_what_a_gpu_gets_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = ComputeDevice.choose("auto", "auto")
    mine = Process(card()).compute
    assert (chosen.dtype, chosen.batch_frames) == (mine.dtype, mine.batch_frames) == (torch.float16, CUDA_BATCH)
    assert lips.best_precision(chosen.device) is lips.FLOAT16
    assert lip_engine.batch_size(lip_engine.NeuralOptions(), chosen.device) == lips.GPU_BATCH
    defaults = LiveportraitSettings.model_fields
    assert defaults["prepared_cache_mib"].default * MEBIBYTE == PREPARED_BYTES
    assert defaults["max_streams"].default == STREAMS


def test_both_services_share_a_card_of_eight_gigabytes_at_full_batches(
    networks: Callable[[], LivePortraitNetworks], lip_network: Wav2Lip
) -> None:
    """Both caches full, every stream with a portrait of its own, and libraries that copy all they are given."""
    shared = card(others=2)
    portrait, lip = PortraitProcess(shared, copies=True), LipProcess(shared, copies=True)
    portrait.start(networks())
    lip.start(lip_network)
    first = portrait.prepare()
    kept = [portrait.like(first) for _ in range(PREPARED_BYTES // first.size_bytes + STREAMS)]
    portrait.has_room()
    lip.has_room()
    assert portrait.render(kept[-1], PIECE) == [CUDA_BATCH, 1]
    assert lip.speak(lips.GPU_BATCH + 1) == [lips.GPU_BATCH, 1]
    together = portrait.allocator.peak_reserved_bytes + lip.allocator.peak_reserved_bytes
    assert together <= ALLOWED_BYTES
    assert shared.free_bytes >= EIGHT_GB // 3


def test_a_longer_video_takes_no_more_memory(
    networks: Callable[[], LivePortraitNetworks], lip_network: Wav2Lip
) -> None:
    portrait, lip = PortraitProcess(card()), LipProcess(card())
    portrait.start(networks())
    lip.start(lip_network)
    source = portrait.prepare()
    seen: list[tuple[int, ...]] = []
    for _ in range(3):
        portrait.render(source, PIECE)
        lip.speak(PIECE + 60)
        for allocator in (portrait.allocator, lip.allocator):
            seen.append((allocator.allocated_bytes, allocator.peak_allocated_bytes, allocator.peak_reserved_bytes))
    assert seen[2:] == seen[:2] * 2


@pytest.mark.parametrize("share_mib", [600, 700, 1000])
def test_with_less_memory_stage_1_takes_smaller_batches_and_never_more_than_its_share(
    networks: Callable[[], LivePortraitNetworks], share_mib: int
) -> None:
    process = PortraitProcess(card(), META, share_mib)
    process.start(networks())
    process.has_room()
    batches = process.render(process.prepare(), PIECE)
    assert sum(batches) == PIECE
    assert 1 <= max(batches) < CUDA_BATCH
    assert process.allocator.peak_reserved_bytes <= share_mib * MEBIBYTE


@pytest.mark.parametrize("share_mib", [150, 200, 300])
def test_with_less_memory_stage_2_takes_smaller_batches_and_never_more_than_its_share(
    lip_network: Wav2Lip, share_mib: int
) -> None:
    process = LipProcess(card(), META, share_mib)
    process.start(lip_network)
    process.has_room()
    batches = process.speak(lips.GPU_BATCH)
    assert sum(batches) == lips.GPU_BATCH
    assert 1 <= max(batches) < lips.GPU_BATCH
    assert process.allocator.peak_reserved_bytes <= share_mib * MEBIBYTE


@pytest.mark.parametrize(("share_mib", "is_full"), [(0, False), (900, True)])
def test_a_share_leaves_the_other_service_its_full_batch(
    networks: Callable[[], LivePortraitNetworks], lip_network: Wav2Lip, share_mib: int, *, is_full: bool
) -> None:
    """A card for less than both like to have: without shares the first to be busy takes most of it."""
    small = Card(1600 * MEBIBYTE)
    portrait, lip = PortraitProcess(small, META, share_mib), LipProcess(small)
    portrait.start(networks())
    lip.start(lip_network)
    lip.has_room()
    assert (max(lip.speak(lips.GPU_BATCH)) == lips.GPU_BATCH) is is_full


def test_whoever_is_let_in_gets_a_frame_drawn(networks: Callable[[], LivePortraitNetworks]) -> None:
    """The other service takes what there is, up to the last byte for which a call is let in."""
    shared = card()
    process = PortraitProcess(shared)
    process.start(networks())
    kept = []
    for spare_mib in (0, 0, 1):
        with process.running():
            torch.cuda.empty_cache()
            rests = process.allocator.reserved_bytes - process.allocator.allocated_bytes
        shared.taken_bytes += shared.free_bytes - max(0, process.needed_bytes - rests) - spare_mib * MEBIBYTE
        process.has_room()
        assert process.render(process.prepare(), 1) == [1]
        shared.taken_bytes = 0
        kept.append(process.prepare())
        process.render(kept[-1], 2)


def test_what_a_call_is_let_in_for_is_what_it_takes(
    networks: Callable[[], LivePortraitNetworks], lip_network: Wav2Lip
) -> None:
    """At least the peak of its tensors; at most twice that, and the segments that it needs for a single frame."""
    portrait, lip = PortraitProcess(card()), LipProcess(card())
    portrait.start(networks())
    lip.start(lip_network)
    calls: list[tuple[Process, Callable[[], object]]] = [
        (portrait, lambda: portrait.render(portrait.prepare(), 1)),
        (lip, lambda: lip.speak(1)),
    ]
    for process, call in calls:
        process.allocator.reset_peaks()
        before = process.allocator.allocated_bytes
        call()
        taken = process.allocator.peak_allocated_bytes - before
        assert taken <= process.needed_bytes <= 2 * taken + 3 * 20 * MEBIBYTE


def test_a_small_share_serves_one_portrait_after_the_other(networks: Callable[[], LivePortraitNetworks]) -> None:
    """Those that are kept prepared never take the room of a frame."""
    points = np.random.default_rng(0).uniform(64, 192, (478, 3)).astype(np.float32)
    picture = AnalysedPortrait(np.zeros((256, 256, 3), np.uint8), (FaceLandmarks(points, 1.0),), ())
    planner = MotionPlanner(MotionSettings(), Fraction(10), 10)
    process, preparer = Process(card(), META, SMALL_SHARE_MIB), Preparer(PREPARED_BYTES)
    most = 0
    with process.running():
        engine = LivePortraitEngine(networks(), process.compute, process.meter)
        engine.warm_up()
        for number in range(6):
            key = PreparedKey(str(number), 0, Framing.FULL_PICTURE, 256, ("", "", ""))
            prepared = preparer.prepare(key, engine, picture)
            assert len(PieceRenderer(prepared, planner, preparer).piece(number, 1).frames) == 1
            kept = sum(preparer.holds(replace(key, portrait_sha256=str(each))) for each in range(6))
            most = max(most, kept)
    assert 1 < most < 6
    assert process.allocator.peak_reserved_bytes <= SMALL_SHARE_MIB * MEBIBYTE


def test_a_call_waits_while_the_other_service_has_all_memory(
    networks: Callable[[], LivePortraitNetworks],
) -> None:
    shared = card()
    process = PortraitProcess(shared)
    process.start(networks())
    with process.running():
        torch.cuda.empty_cache()
    there = shared.free_bytes
    shared.taken_bytes += there - process.needed_bytes // 2
    with pytest.raises(DeviceBusy):
        process.has_room()
    shared.taken_bytes -= there // 2
    process.has_room()
    assert process.render(process.prepare(), 2) == [2]


def assert_same_account(process: Process, whole: Process) -> None:
    assert whole.needed_bytes == process.needed_bytes
    for figure in ("allocated_bytes", "peak_allocated_bytes", "peak_reserved_bytes"):
        assert getattr(whole.allocator, figure) == getattr(process.allocator, figure)


def test_all_of_stage_1s_engine_takes_what_is_accounted_here(networks: Callable[[], LivePortraitNetworks]) -> None:
    """The rest of the engine is pictures on the CPU."""
    process, whole = PortraitProcess(card()), Process(card())
    process.start(networks())
    with whole.running():
        engine = LivePortraitEngine(networks(), whole.compute, whole.meter)
        engine.warm_up()
    assert "float16" in engine.describe().version
    assert_same_account(process, whole)


def test_all_of_stage_2s_engine_takes_what_is_accounted_here(lip_network: Wav2Lip) -> None:
    process, whole = LipProcess(card()), Process(card())
    process.start(lip_network)
    options = lip_engine.NeuralOptions(device="meta", precision="float16", batch_size=lips.GPU_BATCH)
    with whole.running():
        engine = lip_engine.build_engine(lip_network, "", options, whole.meter)
    assert "fp16" in engine.describe().version
    assert_same_account(process, whole)
