"""Samples and the 16-bit WAV that the stages exchange, and the arithmetic of samples and frames."""

from __future__ import annotations

import contextlib
import io
import struct
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import soxr
from visema_kit.errors import MediaUnreadable

CANONICAL_RATE_HZ = 48_000
ANALYSIS_RATE_HZ = 16_000
LOWEST_RATE_HZ = 4_000  # below it there is no speech, and a small file would become a huge one when it is resampled
_QUALITY = "HQ"  # of soxr: 20 bit
_FULL_SCALE = 32_768  # 16-bit PCM
_HEADER = struct.Struct("<4sI4s 4sIHHIIHH 4sI")  # RIFF, its form, its samples
BLOCK_SAMPLES = 65_536  # worked on at once: what is in memory besides the WAV does not grow with its length

Samples = npt.NDArray[np.float32]


class BlockResampler:
    """Changes the sample rate block by block; the filter has no delay. The results are those of `resample`."""

    def __init__(self, channels: int, rate_hz: int, new_rate_hz: int) -> None:
        self._channels = channels
        self._stream = (
            None
            if rate_hz == new_rate_hz
            else soxr.ResampleStream(rate_hz, new_rate_hz, channels, dtype="float32", quality=_QUALITY)
        )

    def push(self, block: Samples) -> Samples:
        """The samples that a block float32 (channels, n) makes known; the filter holds the last few back."""
        return self._resampled(block, last=False)

    def finish(self) -> Samples:
        """What the filter held back."""
        return self._resampled(np.empty((self._channels, 0), np.float32), last=True)

    def _resampled(self, block: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return block
        return np.asarray(self._stream.resample_chunk(block.T, last=last).T, np.float32)


def resample(samples: Samples, rate_hz: int, new_rate_hz: int) -> Samples:
    """Change the sample rate of float32 (channels, n) samples; the filter has no delay."""
    if rate_hz == new_rate_hz:
        return samples
    resampled: Samples = np.ascontiguousarray(soxr.resample(samples.T, rate_hz, new_rate_hz, quality=_QUALITY).T)
    return resampled


class WavWriter:
    """A 16-bit PCM WAV that grows block by block."""

    def __init__(self, channels: int, rate_hz: int) -> None:
        self.sample_count = 0
        self._channels, self._rate_hz = channels, rate_hz
        self._file = io.BytesIO(bytes(_HEADER.size))
        self._file.seek(0, io.SEEK_END)

    def write(self, samples: Samples) -> None:
        """Append float32 (channels, n); values beyond full scale are clipped."""
        scaled = np.rint(samples * _FULL_SCALE)
        self._file.write(np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").T.tobytes())
        self.sample_count += samples.shape[1]

    def finish(self) -> bytes:
        """The whole file."""
        step = 2 * self._channels
        size = step * self.sample_count
        form = (16, 1, self._channels, self._rate_hz, step * self._rate_hz, step, 16)  # 1: PCM; 16 bits per sample
        self._file.seek(0)
        self._file.write(_HEADER.pack(b"RIFF", _HEADER.size - 8 + size, b"WAVE", b"fmt ", *form, b"data", size))
        return self._file.getvalue()


def write_wav(samples: Samples, rate_hz: int) -> bytes:
    """16-bit PCM WAV of float32 (channels, n); values beyond full scale are clipped."""
    writer = WavWriter(len(samples), rate_hz)
    for start in range(0, samples.shape[1], BLOCK_SAMPLES):
        writer.write(samples[:, start : start + BLOCK_SAMPLES])
    return writer.finish()


def read_wav(content: bytes) -> tuple[Samples, int]:
    """Samples float32 (channels, n) and rate of a 16-bit PCM WAV.

    Raises: MediaUnreadable: not such a file; `visema_media.speech` reads files from outside.
    """
    with _opened_wav(content) as file:
        return _gathered(_blocks(file), file.getnchannels(), _frames_at_most(content, file)), file.getframerate()


def mono_16k(wav: bytes) -> Samples:
    """A 16-bit PCM WAV for speech analysis: one channel at 16 kHz, float32 (m,).

    Raises: MediaUnreadable: not such a file.
    """
    with _opened_wav(wav) as file:
        length = -(-_frames_at_most(wav, file) * ANALYSIS_RATE_HZ // file.getframerate())
        mixed: Samples = _gathered(_mono_blocks(file), 1, length + 1)[0]
        return mixed


@contextlib.contextmanager
def _opened_wav(content: bytes) -> Iterator[wave.Wave_read]:
    """Raises: MediaUnreadable: no 16-bit PCM WAV."""
    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            if file.getsampwidth() != 2:  # noqa: PLR2004
                raise MediaUnreadable(f"The WAV has {8 * file.getsampwidth()} bits per sample; 16 are expected.")
            if file.getframerate() < LOWEST_RATE_HZ or file.getnchannels() <= 0:
                raise MediaUnreadable("The WAV has no channels or no sample rate that speech can have.")
            yield file
    except (wave.Error, EOFError, ValueError) as err:
        raise MediaUnreadable("The audio is no 16-bit PCM WAV.") from err


def _frames_at_most(content: bytes, file: wave.Wave_read) -> int:
    """Samples of one channel; a header may announce more than there are."""
    return min(file.getnframes(), len(content) // (2 * file.getnchannels()))


def _blocks(file: wave.Wave_read) -> Iterator[Samples]:
    """Float32 (channels, n) in [-1, 1), block by block."""
    channels = file.getnchannels()
    while content := file.readframes(BLOCK_SAMPLES):
        levels = np.frombuffer(content, "<i2", len(content) // (2 * channels) * channels)
        yield levels.reshape(-1, channels).T * np.float32(1 / _FULL_SCALE)


def _mono_blocks(file: wave.Wave_read) -> Iterator[Samples]:
    """Float32 (1, n) at 16 kHz, block by block."""
    resampler = BlockResampler(1, file.getframerate(), ANALYSIS_RATE_HZ)
    for block in _blocks(file):
        yield resampler.push(block.mean(axis=0, keepdims=True))
    yield resampler.finish()


def _gathered(blocks: Iterable[Samples], channels: int, sample_limit: int) -> Samples:
    """Blocks one after the other, at most `sample_limit` samples long: float32 (channels, n)."""
    whole = np.empty((channels, sample_limit), np.float32)
    filled = 0
    for block in blocks:
        whole[:, filled : filled + block.shape[1]] = block
        filled += block.shape[1]
    return whole[:, :filled]


def frame_count(sample_count: int, rate_hz: int, frame_rate: Fraction) -> int:
    """Video frames that cover the audio: the smallest count whose length is not below the audio's."""
    return -(-sample_count * frame_rate.numerator // (rate_hz * frame_rate.denominator))


def sample_of_frame(frame: int, rate_hz: int, frame_rate: Fraction) -> int:
    """Position of the first sample at or after the start of a video frame."""
    return -(-frame * rate_hz * frame_rate.denominator // frame_rate.numerator)
