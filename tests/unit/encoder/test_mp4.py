"""The MP4 file: frames, clocks, colours, lengths, metadata, order of its parts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from visema_encoder.codecs import encoder_opens, usable_encoders
from visema_encoder.mp4 import Mp4Writer, fit_audio
from visema_encoder.options import PRESETS, EncodingOptions, VideoShape
from visema_kit.errors import InvalidInput
from visema_media.audio import CANONICAL_RATE_HZ
from visema_media.colour import Bt709Converter

RATES = [Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(30_000, 1_001)]
SIZE_PX = 256


def numbered_frames(count: int, size_px: int = SIZE_PX) -> np.ndarray:
    """Frames that tell their number: eight bright or dark bars are its bits, uint8 (N, H, W, 3)."""
    frames = np.zeros((count, size_px, size_px, 3), np.uint8)
    bar_px = size_px // 8
    for number, frame in enumerate(frames):
        for bit in range(8):
            frame[:, bit * bar_px : (bit + 1) * bar_px] = 220 if number >> bit & 1 else 30
    return frames


def number_of(luma: np.ndarray) -> int:
    bar_px = luma.shape[1] // 8
    bars = luma[luma.shape[0] // 2, bar_px // 2 :: bar_px]
    return sum(int(level > 128) << bit for bit, level in enumerate(bars))


def tone(seconds: float, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * CANONICAL_RATE_HZ)) / CANONICAL_RATE_HZ
    return np.tile(0.4 * np.sin(2 * np.pi * 330 * times), (channels, 1)).astype(np.float32)


def write(
    path: Path,
    frames: np.ndarray,
    frame_rate: Fraction = Fraction(25),
    samples: np.ndarray | None = None,
    metadata: dict[str, str] | None = None,
    **options: object,
) -> Path:
    shape = VideoShape(frames.shape[2], frames.shape[1], frame_rate, len(frames))
    speech = tone(len(frames) / frame_rate) if samples is None else samples
    with Mp4Writer(path, shape, speech, EncodingOptions(**options), metadata or {}, thread_count=2) as writer:
        for first in range(0, len(frames), 25):
            writer.write(frames[first : first + 25])
        writer.finish()
    return path


def video_frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def audio_samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def boxes(path: Path) -> list[str]:
    """Names of the file's top-level parts, in order."""
    content, position, names = path.read_bytes(), 0, []
    while position < len(content):
        size = int.from_bytes(content[position : position + 4])
        names.append(content[position + 4 : position + 8].decode())
        position += size or len(content)
    return names


@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize("frame_rate", RATES)
@pytest.mark.parametrize("count", [1, 2, 60])
def test_every_frame_is_there_at_its_exact_time(
    tmp_path: Path, frame_rate: Fraction, count: int, fragmented: bool
) -> None:
    path = write(tmp_path / "v.mp4", numbered_frames(count), frame_rate, fragmented=fragmented)
    frames = video_frames(path)
    assert [number_of(frame.to_ndarray()[:SIZE_PX]) for frame in frames] == list(range(count))
    assert [frame.pts * frame.time_base for frame in frames] == [index / frame_rate for index in range(count)]
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == frame_rate
        assert container.streams.video[0].start_time == 0
        assert container.streams.audio[0].start_time == 0


def test_the_stream_is_high_profile_level_42_and_tagged_bt709(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "v.mp4", numbered_frames(10)))) as container:
        context = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
    assert (context.name, context.profile, context.level) == ("h264", "High", 42)
    assert context.pix_fmt == "yuv420p"
    assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (1, 1, 1, 1)


@pytest.mark.parametrize("preset", PRESETS[:5])
def test_every_fast_preset_is_high_profile(tmp_path: Path, preset: str) -> None:
    with av.open(str(write(tmp_path / "v.mp4", numbered_frames(5), preset=preset))) as container:
        assert container.streams.video[0].codec_context.profile == "High"


@pytest.mark.parametrize("size_px", [256, 512, 770, 1024])
def test_sizes_and_the_fastest_rate_stay_at_level_42(tmp_path: Path, size_px: int) -> None:
    with av.open(str(write(tmp_path / "v.mp4", numbered_frames(3, size_px), Fraction(50)))) as container:
        context = container.streams.video[0].codec_context
    assert (context.width, context.height, context.level) == (size_px, size_px, 42)


def test_colours_survive_within_three_counts(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(16, 240, (16, 3), np.uint8)
    colours[:5] = [(60, 90, 200), (140, 170, 220), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    patch_px = SIZE_PX // 4
    frame = np.kron(colours.reshape(4, 4, 3), np.ones((patch_px, patch_px, 1), np.uint8)).astype(np.uint8)
    path = write(tmp_path / "v.mp4", np.stack([frame] * 5), crf=8)
    decoded = Bt709Converter().to_bgr(video_frames(path)[2])
    centres = decoded[patch_px // 2 :: patch_px, patch_px // 2 :: patch_px].reshape(16, 3)
    assert np.abs(centres.astype(int) - colours).max() <= 3


def test_lossless_quality_gives_back_the_converted_frames(tmp_path: Path) -> None:
    frames = numbered_frames(4)
    converted = [Bt709Converter().to_yuv(frame).to_ndarray() for frame in frames]
    decoded = [frame.to_ndarray() for frame in video_frames(write(tmp_path / "v.mp4", frames, crf=0))]
    assert all((one == other).all() for one, other in zip(decoded, converted, strict=True))


def test_a_bit_rate_is_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (75, 256, 256, 3), np.uint8)
    path = write(tmp_path / "v.mp4", noise, bitrate_bps=1_500_000)
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0)]
    assert sum(sizes) * 8 / 3 == pytest.approx(1_500_000, rel=0.35)


@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize("frame_rate", RATES)
@pytest.mark.parametrize("surplus_s", [-0.5, -0.011, 0, 0.7])
def test_sound_and_picture_end_within_one_frame(
    tmp_path: Path, frame_rate: Fraction, surplus_s: float, fragmented: bool
) -> None:
    frames = numbered_frames(61)
    seconds = float(61 / frame_rate)
    path = write(tmp_path / "v.mp4", frames, frame_rate, tone(seconds + surplus_s, 2), fragmented=fragmented)
    played = audio_samples(path)
    assert len(played) == 2
    block_s = 1024 / CANONICAL_RATE_HZ  # decoders give whole AAC blocks
    assert -1e-6 <= played.shape[1] / CANONICAL_RATE_HZ - seconds <= block_s
    if not fragmented:
        with av.open(str(path)) as container:
            lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
        assert abs(lengths[0] - lengths[1]) < 1 / frame_rate


def test_sound_is_in_step_with_the_picture(tmp_path: Path) -> None:
    """A click at 1 s is heard at 1 s: the encoder's delay is told to the player."""
    samples = np.zeros((1, 2 * CANONICAL_RATE_HZ), np.float32)
    samples[0, CANONICAL_RATE_HZ : CANONICAL_RATE_HZ + 48] = 0.9
    played = audio_samples(write(tmp_path / "v.mp4", numbered_frames(50), samples=samples))
    assert abs(int(np.argmax(np.abs(played[0]))) - CANONICAL_RATE_HZ) < 200


def test_the_index_stands_before_the_media_or_in_fragments(tmp_path: Path) -> None:
    front = boxes(write(tmp_path / "front.mp4", numbered_frames(60)))
    assert front.index("moov") < front.index("mdat")
    fragments = boxes(write(tmp_path / "fragments.mp4", numbered_frames(120), fragmented=True))
    assert fragments.index("moov") < fragments.index("moof") < fragments.index("mdat")
    assert fragments.count("moof") >= 2


@pytest.mark.parametrize(("fragmented", "key_frames"), [(False, [0, 100]), (True, [0, 50, 100])])
def test_key_frames_are_rare_except_where_a_player_waits_for_fragments(
    tmp_path: Path, fragmented: bool, key_frames: list[int]
) -> None:
    still = np.repeat(numbered_frames(1), 120, axis=0)  # no cuts
    frames = video_frames(write(tmp_path / "v.mp4", still, fragmented=fragmented))
    assert [number for number, frame in enumerate(frames) if frame.key_frame] == key_frames


def test_metadata_is_readable(tmp_path: Path) -> None:
    wanted = {"title": "Größe", "comment": "Synthetic", "visema.seed": "7"}
    with av.open(str(write(tmp_path / "v.mp4", numbered_frames(3), metadata=wanted))) as container:
        assert wanted.items() <= container.metadata.items()


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, numbered_frames(30)) for name in ("a.mp4", "b.mp4"))
    assert one.read_bytes() == other.read_bytes()


def test_more_fewer_or_other_frames_than_announced_are_refused(tmp_path: Path) -> None:
    shape = VideoShape(256, 256, Fraction(25), 3)
    with Mp4Writer(tmp_path / "v.mp4", shape, tone(1), EncodingOptions(), {}) as writer:
        writer.write(numbered_frames(2))
        with pytest.raises(InvalidInput, match="2 of 3"):
            writer.finish()
        with pytest.raises(InvalidInput, match="More than"):
            writer.write(numbered_frames(2))
        with pytest.raises(InvalidInput, match="differ in size"):
            writer.write(numbered_frames(1, 512))


@given(samples=st.integers(0, 200_000), count=st.integers(1, 100), frame_rate=st.sampled_from(RATES))
def test_fitted_audio_is_as_long_as_the_video(samples: int, count: int, frame_rate: Fraction) -> None:
    fitted = fit_audio(np.ones((1, samples), np.float32), VideoShape(256, 256, frame_rate, count))
    assert 0 <= Fraction(fitted.shape[1], CANONICAL_RATE_HZ) - count / frame_rate < Fraction(1, CANONICAL_RATE_HZ)
    assert fitted[0, : min(samples, fitted.shape[1])].all()
    assert not fitted[0, samples:].any()


def test_the_software_encoder_always_opens_and_an_unknown_one_never() -> None:
    assert usable_encoders()[-1] == "libx264"
    assert not encoder_opens("h264_of_nobody")
    assert not encoder_opens("aac")


@pytest.mark.parametrize(
    "wrong",
    [
        {"crf": -1},
        {"crf": 52},
        {"bitrate_bps": 0},
        {"bitrate_bps": 10**9},
        {"preset": "warp"},
        {"audio_bitrate_bps": 1},
        {"still_frames": tuple(range(17))},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        EncodingOptions(**wrong)
