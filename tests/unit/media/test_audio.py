"""Speech from outside, the canonical WAV and the arithmetic of frames and samples."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from visema_kit.errors import AudioTooLong, AudioTooShort, MediaNotAllowed, MediaUnreadable
from visema_media import audio
from visema_media.limits import MediaLimits
from visema_media.speech import WARN_DOWNMIXED, decode_audio

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples"
TONE_HZ = 440
LEVEL = 2 / 32_768  # of 16 bit
ENCODERS = {  # container, encoder, sample format
    "wav": ("wav", "pcm_s16le", "s16"),
    "wav-24": ("wav", "pcm_s24le", "s32"),
    "wav-float": ("wav", "pcm_f32le", "flt"),
    "wav-alaw": ("wav", "pcm_alaw", "s16"),
    "mp3": ("mp3", "libmp3lame", "fltp"),
    "flac": ("flac", "flac", "s16"),
    "ogg-vorbis": ("ogg", "", ""),  # by libsndfile: PyAV's FFmpeg has no Vorbis encoder for one channel
    "ogg-opus": ("ogg", "libopus", "flt"),
    "m4a-aac": ("ipod", "aac", "fltp"),
    "m4a-alac": ("ipod", "alac", "s16p"),
}


def tone(seconds: float, rate_hz: int = 48_000, channels: int = 1, level: float = 0.5) -> np.ndarray:
    """A sine as float32 (channels, n)."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(level * np.sin(2 * np.pi * TONE_HZ * times), (channels, 1)).astype(np.float32)


def encode(samples: np.ndarray, kind: str, rate_hz: int = 48_000) -> bytes:
    """Samples float32 (channels, n) as a file."""
    container_format, encoder, sample_format = ENCODERS[kind]
    if kind == "ogg-vorbis":
        soundfile.write(buffer := io.BytesIO(), samples.T, rate_hz, format="OGG", subtype="VORBIS")
        return buffer.getvalue()
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=rate_hz, layout=layout)
        stream.codec_context.format = sample_format
        stream.codec_context.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate_hz)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def float_wav(samples: np.ndarray, rate_hz: int = 48_000) -> bytes:
    """A float WAV that holds exactly these values, NaN too."""
    body = samples.T.astype("<f4").tobytes()
    channels = len(samples)
    head = struct.pack("<HHIIHH", 3, channels, rate_hz, rate_hz * channels * 4, channels * 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def loudest_hz(samples: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


def heard(content: bytes) -> np.ndarray:
    """What the stages get of a file: float32 (channels, n) at 48 kHz."""
    return audio.read_wav(decode_audio(content).wav)[0]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_accepted_formats_are_decoded(kind: str, channels: int) -> None:
    speech = decode_audio(encode(tone(1.5, channels=channels), kind))
    samples, rate_hz = audio.read_wav(speech.wav)
    assert rate_hz == 48_000
    assert samples.shape == (channels, speech.sample_count)
    assert float(speech.duration) == pytest.approx(1.5, abs=0.06)  # lossy codecs pad to whole blocks
    assert loudest_hz(samples[0], rate_hz) == pytest.approx(TONE_HZ, abs=2)
    assert np.abs(samples[0, 4800:-4800]).max() == pytest.approx(0.5, abs=0.04)
    assert speech.warnings == ()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 96_000])
def test_every_rate_becomes_48_khz(rate_hz: int) -> None:
    content = encode(tone(1, rate_hz), "flac", rate_hz)
    speech = decode_audio(content)
    assert float(speech.duration) == pytest.approx(1, abs=0.01)
    assert loudest_hz(heard(content)[0], 48_000) == pytest.approx(TONE_HZ, abs=2)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_long_file_is_converted_in_blocks_as_if_at_once(rate_hz: int, channels: int) -> None:
    """Seams between blocks would be heard as clicks and seen as moving lips."""
    noise = np.random.default_rng(0).uniform(-1, 1, (channels, 3 * audio.BLOCK_SAMPLES + 7)).astype(np.float32)
    source = audio.read_wav(audio.write_wav(noise, rate_hz))[0]  # as the file has it
    speech = decode_audio(audio.write_wav(noise, rate_hz))
    at_once = audio.resample(source, rate_hz, 48_000)
    assert speech.sample_count == at_once.shape[1]
    assert speech.wav == audio.write_wav(at_once, 48_000)


def test_conversion_takes_the_memory_of_its_result_and_a_few_blocks() -> None:
    content = encode(np.zeros((1, 16_000 * 60), np.float32), "flac", 16_000)
    decode_audio(content[:])  # what is loaded once
    tracemalloc.start()
    try:
        speech = decode_audio(content)
        converting = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        mixed = audio.mono_16k(speech.wav)
        mixing = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    block = 4 * audio.BLOCK_SAMPLES * 3  # float32, after resampling to three times the rate
    assert converting < 1.6 * len(speech.wav) + 4 * block  # a growing file has some room to spare
    assert mixing < mixed.nbytes + 4 * block


def test_six_channels_become_two() -> None:
    speech = decode_audio(encode(tone(1, channels=6, level=0.2), "flac"))
    assert audio.read_wav(speech.wav)[0].shape == (2, 48_000)
    assert speech.warnings == (WARN_DOWNMIXED,)


def test_not_a_number_and_infinity_are_cleaned() -> None:
    samples = tone(1)
    samples[0, 100:200], samples[0, 300], samples[0, 400], samples[0, 500] = np.nan, np.inf, -np.inf, 1e30
    cleaned = heard(float_wav(samples))[0]
    assert np.isfinite(cleaned).all()
    assert np.abs(cleaned).max() <= 1
    assert (cleaned[100:200] == 0).all()
    assert cleaned[300:501:100] == pytest.approx([1, -1, 1], abs=LEVEL)
    assert cleaned[1000:] == pytest.approx(samples[0, 1000:], abs=LEVEL)


def test_direct_current_and_clipped_audio_are_fine() -> None:
    assert heard(float_wav(np.full((1, 48_000), 0.7, np.float32))).mean() == pytest.approx(0.7, abs=LEVEL)
    clipped = np.clip(5 * tone(1), -1, 1)
    assert heard(encode(clipped, "wav")) == pytest.approx(clipped, abs=1e-4)


def test_length_limits_hold_to_the_sample() -> None:
    assert decode_audio(encode(tone(0.2), "wav")).sample_count == 9_600
    with pytest.raises(AudioTooShort) as short:
        decode_audio(encode(tone(0.2)[:, :-1], "wav"))
    assert short.value.reason == "AUDIO_TOO_SHORT"
    limits = MediaLimits(audio_max_s=2)
    assert decode_audio(encode(tone(2), "wav"), limits).sample_count == 96_000
    with pytest.raises(AudioTooLong) as long:
        decode_audio(encode(np.pad(tone(2), ((0, 0), (0, 1))), "wav"), limits)
    assert long.value.reason == "AUDIO_TOO_LONG"


def test_ten_minutes_in_a_small_file_are_too_long() -> None:
    with pytest.raises(AudioTooLong):
        decode_audio(encode(np.zeros((1, 16_000 * 600), np.float32), "flac", 16_000))


def test_a_file_with_too_many_bytes_is_too_long() -> None:
    content = encode(tone(1), "wav")
    with pytest.raises(AudioTooLong):
        decode_audio(content, MediaLimits(audio_bytes=len(content) - 1))


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.mp3\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<?xml version='1.0'?><MPD/>",
        b"FORM\0\0\0\0AIFF",
        b"\xff\xf1\x50\x80\x00\x1f\xfc",
        b"#!AMR\n",
        b"\x1aE\xdf\xa3webm",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
    ],
)
def test_playlists_and_other_media_are_not_allowed(content: bytes) -> None:
    with pytest.raises(MediaNotAllowed):
        decode_audio(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b"speech",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"fLaC",
        b"OggS" + b"\0" * 40,
        b"\0\0\0\x18ftypM4A ",
        b"ID3\x04",
    ],
)
def test_what_cannot_be_decoded_is_unreadable(content: bytes) -> None:
    with pytest.raises(MediaUnreadable):
        decode_audio(content)


def test_a_video_is_not_allowed() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25, width=64, height=64)
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(1), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(MediaNotAllowed):
        decode_audio(buffer.getvalue())


def test_an_mp3_with_a_cover_picture_is_speech() -> None:
    plain = encode(tone(1), "mp3")
    body = plain[10 + int.from_bytes(plain[6:10]) :] if plain.startswith(b"ID3") else plain
    picture = b"\0image/png\0\x03\0\x89PNG\r\n\x1a\n" + b"\0" * 300
    tag = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(tag)
    header = b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    assert loudest_hz(heard(header + tag + body)[0], 48_000) == pytest.approx(TONE_HZ, abs=2)


@pytest.mark.parametrize("kind", ["mp3", "wav", "ogg-vorbis", "flac"])
def test_a_file_that_is_cut_off_gives_what_is_there(kind: str) -> None:
    content = encode(tone(4), kind)
    speech = decode_audio(content[: len(content) * 3 // 4])
    assert 1.5 < speech.duration < 3.5


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(ENCODERS)),
    position=st.floats(0, 1, exclude_max=True),
    patch=st.binary(min_size=1, max_size=16),
)
def test_damaged_files_give_sound_or_a_documented_error(kind: str, position: float, patch: bytes) -> None:
    content = bytearray(encode(tone(0.5, 16_000), kind, 16_000))
    at = int(position * len(content))
    content[at : at + len(patch)] = patch
    with contextlib.suppress(MediaUnreadable, MediaNotAllowed, AudioTooLong, AudioTooShort):
        assert len(heard(bytes(content))) in {1, 2}


def test_the_same_file_gives_the_same_canonical_wav() -> None:
    content = encode(tone(1, 44_100, 2), "flac", 44_100)
    assert decode_audio(content) == decode_audio(content)
    assert heard(content).shape == (2, 48_000)


def test_a_written_wav_is_what_the_standard_library_writes() -> None:
    samples = tone(0.1, 44_100, 2)
    with wave.open(buffer := io.BytesIO(), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(np.rint(samples * 32_768).astype("<i2").T.tobytes())
    assert audio.write_wav(samples, 44_100) == buffer.getvalue()


@given(levels=st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50))
def test_16_bit_samples_survive_a_round_trip(levels: list[int]) -> None:
    samples = np.array([levels], np.float32) / 32_768
    assert (audio.read_wav(audio.write_wav(samples, 48_000))[0] == samples).all()


def test_a_wav_with_other_samples_than_16_bit_is_unreadable_as_canonical() -> None:
    for content in (encode(tone(1), "wav-24"), float_wav(tone(1)), b"", b"RIFF", encode(tone(1), "mp3")):
        with pytest.raises(MediaUnreadable):
            audio.read_wav(content)


@pytest.mark.parametrize("read", [audio.read_wav, audio.mono_16k])
def test_a_sample_rate_that_no_speech_has_is_unreadable(read: Callable[[bytes], object]) -> None:
    read(audio.write_wav(np.zeros((1, 40_000), np.float32), 4_000))
    with pytest.raises(MediaUnreadable):
        read(audio.write_wav(np.zeros((1, 40_000), np.float32), 1))


def test_analysis_audio_is_one_channel_at_16_khz_without_delay() -> None:
    click = np.zeros((2, 48_000), np.float32)
    click[:, 24_000] = 1
    mixed = audio.mono_16k(audio.write_wav(click, 48_000))
    assert mixed.shape == (16_000,)
    assert int(np.argmax(mixed)) == 8_000


RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(30_000, 1_001)])
SAMPLE_RATES = st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000])


@given(samples=st.integers(0, 10**9), rate_hz=SAMPLE_RATES, frame_rate=RATES)
def test_the_video_covers_the_audio_by_less_than_one_frame(samples: int, rate_hz: int, frame_rate: Fraction) -> None:
    frames = audio.frame_count(samples, rate_hz, frame_rate)
    assert frames / frame_rate >= Fraction(samples, rate_hz)
    assert (frames - 1) / frame_rate < Fraction(samples, rate_hz)


@given(frame=st.integers(0, 10**6), rate_hz=SAMPLE_RATES, frame_rate=RATES)
def test_a_frames_first_sample_lies_in_that_frame(frame: int, rate_hz: int, frame_rate: Fraction) -> None:
    sample = audio.sample_of_frame(frame, rate_hz, frame_rate)
    assert Fraction(sample, rate_hz) >= frame / frame_rate
    assert Fraction(sample - 1, rate_hz) < frame / frame_rate
    assert audio.frame_count(sample, rate_hz, frame_rate) in {frame, frame + 1}


@pytest.mark.skipif(not SAMPLES.exists(), reason="the shared samples are not here")
def test_the_sample_speeches_are_decoded() -> None:
    lengths = {path.name: float(decode_audio(path.read_bytes()).duration) for path in SAMPLES.glob("speech_*")}
    assert lengths["speech_en_5s.wav"] == 5
    assert lengths["speech_en_15s_stereo.mp3"] == pytest.approx(15.2, abs=0.1)
