"""The neural engine on synthetic weights: every frame comes back, right, again the same, and it stops when told."""

from __future__ import annotations

from concurrent.futures import CancelledError
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.official_weights import write_official_file  # noqa: E402
from visema_kit.checkpoints import WAV2LIP  # noqa: E402
from visema_kit.checkpoints_store import CheckpointFolder, file_sha256  # noqa: E402
from visema_kit.errors import AudioTooShort, CheckpointMissing, LicenseNotAccepted  # noqa: E402  skipped without torch
from visema_kit.torch_device import choose_device  # noqa: E402
from visema_media.track import FaceTrack  # noqa: E402
from visema_wav2lip.engines import neural  # noqa: E402
from visema_wav2lip.engines import neural_generator as inference  # noqa: E402
from visema_wav2lip.engines.neural_session import FramesWithoutFace  # noqa: E402
from visema_wav2lip.engines.protocol import LipSyncSettings, SegmentPart  # noqa: E402
from visema_wav2lip.mouth import mouth_bounds  # noqa: E402

pytestmark = pytest.mark.neural
RATE = Fraction(25)
CPU = torch.device("cpu")
HEIGHT, WIDTH = 200, 240
LIPS = [0, 17, 61, 291]


def moving_face(frames):
    """A face of 110 x 130 pixels that drifts half a pixel per frame, with four points of its lips."""
    left = 60 + 0.5 * np.arange(frames, dtype=np.float32)
    boxes = np.stack((left, np.full(frames, 30.0), np.full(frames, 110.0), np.full(frames, 130.0)), axis=1)
    lips = np.array([[55, 95], [55, 115], [35, 104], [75, 104]], np.float32)  # top, bottom, left, right
    points = lips[None] + np.stack((left, np.full(frames, 30.0)), axis=1)[:, None]
    return FaceTrack(np.array(LIPS, np.int32), points.astype(np.float32), boxes.astype(np.float32))


def pictures(frames, seed=0):
    """Smooth coloured pictures, all different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack((70 + 0.1 * x, 110 + 0.2 * y, 190 - 0.1 * x), axis=2)
    return [np.clip(base + rng.uniform(-12, 12, 3), 0, 255).astype(np.uint8) for _ in range(frames)]


@pytest.fixture(scope="module")
def speech(goldens):
    return (goldens["wav_i16"][:32000] / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def engine(generator):
    return neural.build_engine(generator, "0" * 64, neural.NeuralOptions(device="cpu", backend="torch", batch_size=3))


def begin(engine, speech, frames, **settings):
    reference = pictures(1)[0]
    return engine.open(reference, moving_face(1), speech, RATE, frames, LipSyncSettings(**settings))


class IdentityGenerator:
    """Gives back the face that it is shown: whatever still changes comes from cropping and pasting."""

    description = "identity"

    def batches(self, windows, crops, mouth_strength):
        del windows, mouth_strength
        yield crops.astype(np.float32) / 255


def test_every_frame_comes_back_changed_inside_the_face_only(engine, speech):
    frames, track = pictures(7), moving_face(7)
    before = [frame.copy() for frame in frames]
    results = begin(engine, speech, 7).apply([SegmentPart.whole(frames, track, 0)])
    assert len(results) == 7
    for frame, original, result, box in zip(frames, before, results, track.boxes_px, strict=True):
        np.testing.assert_array_equal(frame, original)  # the input is not changed
        assert result.shape == frame.shape
        assert result.dtype == np.uint8
        left, top, width, height = box
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[int(top) : int(top + height) + 12, int(left) - 1 : int(left + width) + 2] = False
        np.testing.assert_array_equal(result[outside], frame[outside])
        mouth = np.s_[int(top) + 95 : int(top) + 115, int(left) + 36 : int(left) + 74]
        assert np.abs(result[mouth].astype(int) - frame[mouth]).mean() > 1


def test_the_same_segment_gives_the_same_bytes_whatever_was_made_before(engine, speech):
    frames, track = pictures(10), moving_face(10)
    session = begin(engine, speech, 10)
    session.apply([SegmentPart.whole(frames[:5], track.slice(0, 5), 0)])
    later = session.apply([SegmentPart.whole(frames[5:], track.slice(5, 5), 5)])
    again = begin(engine, speech, 10).apply([SegmentPart.whole(frames[5:], track.slice(5, 5), 5)])
    np.testing.assert_array_equal(np.stack(later), np.stack(again))


def test_position_in_the_audio_decides_the_mouth(engine, speech):
    frames, track = pictures(1), moving_face(1)
    session = begin(engine, speech, 50)
    assert (
        np.abs(
            session.apply([SegmentPart.whole(frames, track, 5)])[0].astype(int)
            - session.apply([SegmentPart.whole(frames, track, 30)])[0]
        ).max()
        > 0
    )


def test_a_video_longer_than_its_audio_is_served_to_the_end(engine, speech):
    frames, track = pictures(2), moving_face(2)
    session = begin(engine, speech[:3200], 1000)
    silent = begin(engine, np.zeros(3200, np.float32), 1000)
    for late, quiet in zip(
        session.apply([SegmentPart.whole(frames, track, 900)]),
        silent.apply([SegmentPart.whole(frames, track, 900)]),
        strict=True,
    ):
        np.testing.assert_array_equal(late, quiet)


def test_colours_of_the_pasted_area_stay_those_of_the_target(speech):
    engine = neural.NeuralEngine(IdentityGenerator(), "", CPU, neural.NeuralOptions())
    frames, track = pictures(4), moving_face(4)
    for frame, result, (left, top, width, height) in zip(
        frames, begin(engine, speech, 4).apply([SegmentPart.whole(frames, track, 0)]), track.boxes_px, strict=True
    ):
        face = np.s_[int(top) : int(top + height) + 10, int(left) : int(left + width)]
        shift = result[face].mean(axis=(0, 1)) - frame[face].mean(axis=(0, 1))
        assert np.abs(shift).max() < 0.5
        assert np.abs(result.astype(int) - frame).max() <= 3


def test_a_generator_that_swaps_colours_would_be_noticed(speech):
    class Swapped(IdentityGenerator):
        def batches(self, windows, crops, mouth_strength):
            for faces in super().batches(windows, crops, mouth_strength):
                yield faces[..., ::-1]

    engine = neural.NeuralEngine(Swapped(), "", CPU, neural.NeuralOptions())
    frame = pictures(1)[0]
    result = begin(engine, speech, 1).apply([SegmentPart.whole([frame], moving_face(1), 0)])[0]
    mouth = np.s_[125:145, 96:134]
    assert np.abs(result[mouth].mean(axis=(0, 1)) - frame[mouth].mean(axis=(0, 1))).max() > 20


def test_frames_without_a_face_pass_through_with_a_typed_warning(engine, speech):
    frames, track = pictures(8), moving_face(8)
    boxes = track.boxes_px.copy()
    boxes[1] = np.nan
    boxes[4] = (60, 30, 0, 0)
    boxes[5] = (400, 30, 110, 130)  # beyond the right edge
    track = FaceTrack(track.landmark_ids, track.points_px, boxes)
    session = begin(engine, speech, 20)
    results = session.apply([SegmentPart.whole(frames, track, 10)])
    assert [result is frame for result, frame in zip(results, frames, strict=True)] == [
        i in {1, 4, 5} for i in range(8)
    ]
    assert session.frames_without_face == [FramesWithoutFace(11, 1), FramesWithoutFace(14, 2)]
    assert session.warnings == [
        "no face in frame 11: the picture is left as it is",
        "no face in frames 14 to 15: the picture is left as it is",
    ]


def test_a_segment_without_any_face_comes_back_as_it_is(engine, speech):
    frames, track = pictures(2), moving_face(2)
    nowhere = FaceTrack(track.landmark_ids, track.points_px, np.full((2, 4), np.nan, np.float32))
    results = begin(engine, speech, 2).apply([SegmentPart.whole(frames, nowhere, 0)])
    assert all(result is frame for result, frame in zip(results, frames, strict=True))


def test_lips_are_found_in_the_track_where_it_has_them():
    track = moving_face(2)
    points = track.points_px.copy()
    points[1, 0] = np.nan
    assert mouth_bounds(FaceTrack(track.landmark_ids, points, track.boxes_px)) == [(85, 115, 145, 155), None]
    without_lips = FaceTrack(np.array([1, 2, 3, 4], np.int32), track.points_px, track.boxes_px)
    assert mouth_bounds(without_lips) == [None, None]


def test_a_track_without_lips_serves_too(engine, speech):
    track = moving_face(1)
    boxes_only = FaceTrack(np.zeros(0, np.int32), np.zeros((1, 0, 2), np.float32), track.boxes_px)
    frame = pictures(1)[0]
    assert (begin(engine, speech, 1).apply([SegmentPart.whole([frame], boxes_only, 0)])[0] != frame).any()


def test_an_empty_segment_is_empty(engine, speech):
    assert begin(engine, speech, 2).apply([SegmentPart.whole([], moving_face(0), 1)]) == []


def test_cancel_stops_before_the_next_batch(generator, speech):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 2)
    engine = neural.NeuralEngine(fast, "", CPU, neural.NeuralOptions())
    session = begin(engine, speech, 10)
    batches = []

    def cancel_in_the_second(_module, inputs, _output):
        batches.append(len(inputs[0]))
        if len(batches) == 2:
            session.cancel()

    fast._network.output_block.register_forward_hook(cancel_in_the_second)
    with pytest.raises(CancelledError):
        session.apply([SegmentPart.whole(pictures(10), moving_face(10), 0)])
    assert batches == [2, 2]
    with pytest.raises(CancelledError):
        session.apply([SegmentPart.whole(pictures(1), moving_face(1), 0)])
    assert len(batches) == 2
    assert (
        len(begin(engine, speech, 2).apply([SegmentPart.whole(pictures(2), moving_face(2), 0)])) == 2
    )  # the next job succeeds


@pytest.mark.parametrize(("rows", "first"), [(2, 0), (3, 8), (3, -1)])
def test_frames_that_do_not_fit_track_or_clip_are_refused(engine, speech, rows, first):
    with pytest.raises(ValueError, match=r"of 10|track rows"):
        begin(engine, speech, 10).apply([SegmentPart.whole(pictures(3), moving_face(rows), first)])


def test_no_audio_is_refused(engine):
    with pytest.raises(AudioTooShort):
        begin(engine, np.zeros(0, np.float32), 5)


def test_mouth_strength_zero_is_the_mouth_of_silence(engine, speech):
    frames, track = pictures(2), moving_face(2)
    still = begin(engine, speech, 30, mouth_strength=0.0).apply([SegmentPart.whole(frames, track, 10)])
    silent = begin(engine, np.zeros(32000, np.float32), 30).apply([SegmentPart.whole(frames, track, 10)])
    assert np.abs(np.stack(still).astype(int) - np.stack(silent)).max() <= 1


def test_the_description_names_model_backend_precision_and_weights(engine):
    description = engine.describe()
    assert description.name == "wav2lip"
    assert description.version.startswith("2 torch cpu ")
    assert description.model_license == "LicenseRef-wav2lip-noncommercial"
    assert description.weights_sha256 == "0" * 64


@pytest.mark.parametrize(("pixels", "frames"), [(100 * 100, 50), (512 * 512, 50), (1920 * 1080, 8), (1 << 26, 1)])
def test_a_call_is_a_batch_and_less_of_very_large_frames(pixels, frames):
    engine = neural.NeuralEngine(IdentityGenerator(), "", CPU, neural.NeuralOptions(batch_size=50))
    assert engine.frames_per_call(pixels) == frames


def test_the_silence_gate_rests_the_mouth_in_noise_and_names_itself(generator, speech):
    options = neural.NeuralOptions(device="cpu", backend="torch", precision="float32", batch_size=2, silence_gate_db=40)
    gated = neural.build_engine(generator, "", options)
    assert gated.describe().version.endswith(" gate 40")
    noise = np.random.default_rng(1).normal(0, 1e-4, 32000).astype(np.float32)
    frames, track = pictures(2), moving_face(2)
    in_noise = begin(gated, np.concatenate((speech, noise)), 100).apply([SegmentPart.whole(frames, track, 70)])
    in_silence = begin(gated, np.zeros(32000, np.float32), 100).apply([SegmentPart.whole(frames, track, 70)])
    np.testing.assert_array_equal(np.stack(in_noise), np.stack(in_silence))


def test_automatic_choices_follow_the_device():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert neural.device_name(CPU) == "cpu"
    automatic = neural.NeuralOptions()
    assert neural.batch_size(automatic, torch.device("cuda")) > neural.batch_size(automatic, CPU)
    assert neural.batch_size(neural.NeuralOptions(batch_size=2), CPU) == 2


class Settings:
    """The service's settings as far as the engine reads them."""

    device, precision, lipsync_backend, silence_gate_db, torch_compile = "cpu", "float32", "torch", None, False
    device_memory_mib = 3000

    def __init__(self, folder, licenses):
        self.checkpoint_dir, self._licenses = folder, licenses

    def accepted_licenses(self):
        return frozenset(self._licenses)


def test_weights_do_not_load_before_their_licence_is_accepted(tmp_path):
    with pytest.raises(LicenseNotAccepted, match="VISEMA_ACCEPT_LICENSES=wav2lip-noncommercial"):
        neural.load_neural_engine(Settings(tmp_path, {"another-licence"}))


@pytest.mark.parametrize("set_folder", [False, True])
def test_missing_weights_are_named(tmp_path, set_folder):
    with pytest.raises(CheckpointMissing):
        neural.load_neural_engine(Settings(tmp_path if set_folder else None, {"wav2lip-noncommercial"}))


def test_an_imported_checkpoint_in_the_official_format_makes_the_engine(generator, tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(neural, "watch_memory", lambda _meter, device, limit_mib: shares.append((device, limit_mib)))
    published = write_official_file(tmp_path, WAV2LIP.files[0], lambda _: generator.state_dict())
    folder = CheckpointFolder(tmp_path / "weights")
    folder.path.mkdir()
    folder.import_file(published, WAV2LIP.files[0], vouched_sha256=file_sha256(published))
    engine = neural.load_neural_engine(Settings(folder.path, {"wav2lip-noncommercial"}))
    assert engine.describe().weights_sha256 == folder.record()["wav2lip/generator"].sha256
    result = engine.open(pictures(1)[0], moving_face(1), np.zeros(16000, np.float32), RATE, 1, LipSyncSettings())
    assert result.apply([SegmentPart.whole(pictures(1), moving_face(1), 0)])[0].shape == (HEIGHT, WIDTH, 3)
    assert shares == [(CPU, 3000)]
