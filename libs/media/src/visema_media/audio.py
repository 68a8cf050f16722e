"""Speech from outside becomes samples, and samples become the canonical WAV that the stages exchange.

Files are decoded in memory: one demuxer chosen by content, listed codecs, no protocols.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from visema_kit.errors import AudioTooLong, AudioTooShort, MediaNotAllowed, MediaUnreadable

from visema_media.limits import MediaLimits
from visema_media.sniff import SPEECH_FORMATS, MediaFormat, sniff

CANONICAL_RATE_HZ = 48_000
ANALYSIS_RATE_HZ = 16_000
_FULL_SCALE = 32_768  # 16-bit PCM
_WRITE_SAMPLES = 65_536  # converted at once, so that a long file needs no second and third copy of its samples

WARN_DAMAGED = "Parts of the audio are damaged and were left out."
WARN_DOWNMIXED = "The audio has more than two channels; it was mixed down to two."

_PCM = "pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"


Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Speech:
    """Decoded audio.

    Attributes:
        samples: float32 (channels, n) in [-1, 1], 1 or 2 channels.
        rate_hz: Samples per second.
        warnings: Things that a person should know.
    """

    samples: Samples
    rate_hz: int
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Length in seconds."""
        return Fraction(self.samples.shape[1], self.rate_hz)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Demuxer of a format and the codecs that are opened for it."""

    demuxer: str
    codecs: str


_READERS = {
    MediaFormat.WAV: _Reader("wav", f"{_PCM},pcm_alaw,pcm_mulaw,adpcm_ms,adpcm_ima_wav"),
    MediaFormat.MP3: _Reader("mp3", "mp3,mp3float"),
    MediaFormat.FLAC: _Reader("flac", "flac"),
    MediaFormat.OGG: _Reader("ogg", "vorbis,libvorbis,opus,libopus"),
    MediaFormat.MP4: _Reader("mov", f"aac,alac,mp3,mp3float,flac,opus,libopus,{_PCM}"),
}
_MIN_RATE_HZ = 4_000
_MAX_CHANNELS = 8
_DAMAGED_SHARE = 0.1  # of the packets: beyond it a file is unreadable rather than scratched


def decode_audio(content: bytes, limits: MediaLimits | None = None) -> Speech:
    """Decode WAV, MP3, FLAC, OGG (Vorbis, Opus) or M4A; never more than the longest allowed audio is decoded.

    Rates above 48 kHz come out as 48 kHz, more than two channels as two; NaN and infinities are cleaned.

    Raises:
        AudioTooShort, AudioTooLong: Outside the limits (also by file size).
        MediaNotAllowed: Another format, or a video.
        MediaUnreadable: Damaged, without sound, or of no known format.
    """
    limits = limits or MediaLimits()
    if len(content) > limits.audio_bytes:
        raise AudioTooLong(
            f"The audio file has {len(content)} bytes; at most {limits.audio_bytes} are accepted.",
            metadata={"limit_bytes": str(limits.audio_bytes), "size_bytes": str(len(content))},
        )
    media_format = _speech_format(content)
    reader = _READERS[media_format]
    try:
        with av.open(
            io.BytesIO(content),
            mode="r",
            format=reader.demuxer,
            options={
                "codec_whitelist": reader.codecs,
                "format_whitelist": reader.demuxer,
                "protocol_whitelist": "none",
            },
            metadata_errors="ignore",
        ) as container:
            return _decode(container, limits, media_format)
    except (av.FFmpegError, ValueError) as err:
        raise MediaUnreadable(f"The {media_format.value} audio is damaged or cannot be decoded.") from err


def resample(samples: Samples, rate_hz: int, new_rate_hz: int) -> Samples:
    """Change the sample rate of float32 (channels, n) samples; the filter has no delay."""
    if rate_hz == new_rate_hz:
        return samples
    resampled: Samples = np.ascontiguousarray(soxr.resample(samples.T, rate_hz, new_rate_hz, quality="HQ").T)
    return resampled


def mono_16k(samples: Samples, rate_hz: int) -> Samples:
    """Mix float32 (channels, n) to one channel at 16 kHz for speech analysis: float32 (m,)."""
    mixed: Samples = resample(samples.mean(axis=0, keepdims=True), rate_hz, ANALYSIS_RATE_HZ)[0]
    return mixed


def to_canonical_wav(speech: Speech) -> bytes:
    """16-bit PCM WAV at 48 kHz, mono or stereo; the same speech gives the same bytes."""
    return write_wav(resample(speech.samples, speech.rate_hz, CANONICAL_RATE_HZ), CANONICAL_RATE_HZ)


def write_wav(samples: Samples, rate_hz: int) -> bytes:
    """16-bit PCM WAV of float32 (channels, n); values beyond full scale are clipped."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for start in range(0, samples.shape[1], _WRITE_SAMPLES):
            scaled = np.rint(samples[:, start : start + _WRITE_SAMPLES] * _FULL_SCALE)
            file.writeframesraw(np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").T.tobytes())
    return buffer.getvalue()


def read_wav(content: bytes) -> tuple[Samples, int]:
    """Samples float32 (channels, n) and rate of a 16-bit PCM WAV.

    Raises: MediaUnreadable: not such a file; use `decode_audio` for files from outside.
    """
    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            if file.getsampwidth() != 2:  # noqa: PLR2004
                raise MediaUnreadable(f"The WAV has {8 * file.getsampwidth()} bits per sample; 16 are expected.")
            channels, rate_hz = file.getnchannels(), file.getframerate()
            levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError, ValueError) as err:
        raise MediaUnreadable("The audio is no 16-bit PCM WAV.") from err
    if rate_hz <= 0 or channels <= 0:
        raise MediaUnreadable("The WAV has no channels or no sample rate.")
    whole = len(levels) // channels * channels
    samples = np.empty((channels, whole // channels), np.float32)
    np.multiply(levels[:whole].reshape(-1, channels).T, np.float32(1 / _FULL_SCALE), out=samples)
    return samples, rate_hz


def frame_count(sample_count: int, rate_hz: int, frame_rate: Fraction) -> int:
    """Video frames that cover the audio: the smallest count whose length is not below the audio's."""
    return -(-sample_count * frame_rate.numerator // (rate_hz * frame_rate.denominator))


def sample_of_frame(frame: int, rate_hz: int, frame_rate: Fraction) -> int:
    """Position of the first sample at or after the start of a video frame."""
    return -(-frame * rate_hz * frame_rate.denominator // frame_rate.numerator)


def _speech_format(content: bytes) -> MediaFormat:
    """Raises: MediaNotAllowed, MediaUnreadable: none of the formats that are accepted."""
    media_format = sniff(content)
    if media_format is MediaFormat.UNKNOWN:
        raise MediaUnreadable("The file is no audio that can be read; send WAV, MP3, FLAC, OGG or M4A.")
    if media_format not in SPEECH_FORMATS:
        raise MediaNotAllowed(
            f"The file is {media_format.value}; speech must be WAV, MP3, FLAC, OGG or M4A.",
            metadata={"format": media_format.name},
        )
    return media_format


def _decode(container: InputContainer, limits: MediaLimits, media_format: MediaFormat) -> Speech:
    if any(not stream.disposition & Disposition.attached_pic for stream in container.streams.video):
        raise MediaNotAllowed("The file is a video; send its sound as WAV, MP3, FLAC, OGG or M4A.")
    if not container.streams.audio:
        raise MediaUnreadable(f"The {media_format.value} file has no sound.")
    stream = container.streams.audio[0]
    packets = _Packets()
    chunks: list[Samples] = []
    sample_count = 0
    mixer: _Mixer | None = None
    for frame in packets.decode(container, stream):
        mixer = mixer or _Mixer(frame)
        for chunk in mixer.mix(frame):
            chunks.append(chunk)
            sample_count += chunk.shape[1]
        if sample_count > limits.audio_max_s * mixer.rate_hz:
            raise AudioTooLong(
                f"The audio is longer than {limits.audio_max_s:g} s.", metadata={"limit_s": f"{limits.audio_max_s:g}"}
            )
    if mixer is None or packets.damaged > _DAMAGED_SHARE * packets.count:
        raise MediaUnreadable(f"The {media_format.value} audio is damaged.")
    chunks.extend(mixer.mix(None))
    samples = np.concatenate(chunks, axis=1)
    if samples.shape[1] < limits.audio_min_s * mixer.rate_hz:
        seconds = samples.shape[1] / mixer.rate_hz
        raise AudioTooShort(
            f"The audio is {seconds:.3f} s long; at least {limits.audio_min_s:g} s are needed.",
            metadata={"limit_s": f"{limits.audio_min_s:g}"},
        )
    notes = [WARN_DAMAGED] * bool(packets.damaged) + [WARN_DOWNMIXED] * mixer.downmixed
    return Speech(_clean(samples), mixer.rate_hz, tuple(notes))


class _Packets:
    """Decodes packet by packet and counts those that are damaged."""

    def __init__(self) -> None:
        self.count = 0
        self.damaged = 0

    def decode(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        for packet in container.demux(stream):
            self.count += 1
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                self.damaged += 1
                continue
            yield from frames


class _Mixer:
    """Turns frames of any sample format, layout and rate into float32 (channels, n) of one layout and rate.

    The first frame decides; chained streams that change later are brought to it.
    """

    def __init__(self, first: AudioFrame) -> None:
        channels = first.layout.nb_channels
        if first.sample_rate < _MIN_RATE_HZ or not 1 <= channels <= _MAX_CHANNELS:
            raise MediaUnreadable(f"Audio with {channels} channels at {first.sample_rate} Hz cannot be used.")
        self.rate_hz = min(first.sample_rate, CANONICAL_RATE_HZ)
        self.downmixed = channels > 2  # noqa: PLR2004
        self._layout = "mono" if channels == 1 else "stereo"
        self._shape: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def mix(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Samples of one frame; `None` gives those that the filter still holds."""
        if frame is not None:
            frame.pts = None  # positions are counted in samples; the file's timestamps may lie
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if shape != self._shape:
                yield from self.mix(None)
                self._shape = shape
                self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self.rate_hz)
        if self._resampler is not None:
            for mixed in self._resampler.resample(frame):
                yield mixed.to_ndarray().astype(np.float32, copy=False)


def _clean(samples: Samples) -> Samples:
    """Float WAV may hold NaN, infinities and values beyond full scale. Works in place: a minute is 23 MB."""
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(samples, -1.0, 1.0, out=samples)
