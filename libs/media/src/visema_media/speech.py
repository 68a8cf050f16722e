"""Speech from outside becomes the canonical WAV that the stages exchange.

Files are decoded in memory: one demuxer chosen by content, listed codecs, no protocols.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from visema_kit.errors import AudioTooLong, AudioTooShort, MediaNotAllowed, MediaUnreadable

from visema_media.audio import (
    BLOCK_SAMPLES,
    CANONICAL_RATE_HZ,
    LOWEST_RATE_HZ,
    BlockResampler,
    Samples,
    WavWriter,
    frame_count,
)
from visema_media.limits import MediaLimits
from visema_media.recording import RecordingJudge
from visema_media.sniff import SPEECH_FORMATS, MediaFormat, sniff

WARN_DAMAGED = "Parts of the audio are damaged and were left out."
WARN_DOWNMIXED = "The audio has more than two channels; it was mixed down to two."

_PCM = "pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech as the stages exchange it.

    Attributes:
        wav: The canonical WAV: 16-bit PCM, 48 kHz, 1 or 2 channels.
        sample_count: Samples of one channel.
        warnings: Things that a person should know.
    """

    wav: bytes
    sample_count: int
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Length in seconds."""
        return Fraction(self.sample_count, CANONICAL_RATE_HZ)

    def frame_count(self, frame_rate: Fraction) -> int:
        """Frames of a video that lasts as long as the speech."""
        return frame_count(self.sample_count, CANONICAL_RATE_HZ, frame_rate)


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
_MAX_CHANNELS = 8
_DAMAGED_SHARE = 0.1  # of the packets: beyond it a file is unreadable rather than scratched


def decode_audio(content: bytes, limits: MediaLimits | None = None) -> Speech:
    """Decode WAV, MP3, FLAC, OGG (Vorbis, Opus) or M4A block by block; never more than the longest allowed audio.

    More than two channels come out as two; NaN and infinities are cleaned. The same file gives the same bytes.

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
    packets = _Packets()
    mixer: _Mixer | None = None
    canonical: _CanonicalWriter | None = None
    for frame in packets.decode(container, container.streams.audio[0]):
        if mixer is None or canonical is None:
            mixer = _Mixer(frame)
            canonical = _CanonicalWriter(mixer.channels, mixer.rate_hz)
        for chunk in mixer.mix(frame):
            canonical.add(chunk)
        if canonical.heard > limits.audio_max_s * mixer.rate_hz:
            raise AudioTooLong(
                f"The audio is longer than {limits.audio_max_s:g} s.", metadata={"limit_s": f"{limits.audio_max_s:g}"}
            )
    if mixer is None or canonical is None or packets.damaged > _DAMAGED_SHARE * packets.count:
        raise MediaUnreadable(f"The {media_format.value} audio is damaged.")
    for chunk in mixer.mix(None):
        canonical.add(chunk)
    if canonical.heard < limits.audio_min_s * mixer.rate_hz:
        raise AudioTooShort(
            f"The audio is {canonical.heard / mixer.rate_hz:.3f} s long; at least {limits.audio_min_s:g} s are needed.",
            metadata={"limit_s": f"{limits.audio_min_s:g}"},
        )
    notes = [WARN_DAMAGED] * bool(packets.damaged) + [WARN_DOWNMIXED] * mixer.downmixed
    return canonical.finish(tuple(notes))


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
        if first.sample_rate < LOWEST_RATE_HZ or not 1 <= channels <= _MAX_CHANNELS:
            raise MediaUnreadable(f"Audio with {channels} channels at {first.sample_rate} Hz cannot be used.")
        self.rate_hz = min(first.sample_rate, CANONICAL_RATE_HZ)
        self.downmixed = channels > 2  # noqa: PLR2004
        self.channels = min(channels, 2)
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


class _CanonicalWriter:
    """Writes speech of one rate as the canonical WAV, block by block.

    Attributes: heard: samples of one channel so far, at the source's rate.
    """

    def __init__(self, channels: int, rate_hz: int) -> None:
        self.heard = 0
        self._judge = RecordingJudge(rate_hz)
        self._resampler = BlockResampler(channels, rate_hz, CANONICAL_RATE_HZ)
        self._writer = WavWriter(channels, CANONICAL_RATE_HZ)
        self._waiting: list[Samples] = []  # decoders give small pieces; larger blocks cost less
        self._waiting_samples = 0

    def add(self, samples: Samples) -> None:
        """Append float32 (channels, n); NaN, infinities and values beyond full scale are cleaned."""
        self.heard += samples.shape[1]
        self._waiting.append(samples)
        self._waiting_samples += samples.shape[1]
        if self._waiting_samples >= BLOCK_SAMPLES:
            self._write_waiting()

    def finish(self, warnings: tuple[str, ...]) -> Speech:
        """The whole speech."""
        self._write_waiting()
        self._writer.write(self._resampler.finish())
        return Speech(self._writer.finish(), self._writer.sample_count, warnings + self._judge.warnings())

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        block = _clean(np.concatenate(self._waiting, axis=1))
        self._waiting, self._waiting_samples = [], 0
        self._judge.add(block)
        self._writer.write(self._resampler.push(block))


def _clean(samples: Samples) -> Samples:
    """Float WAV may hold NaN, infinities and values beyond full scale. Works in place."""
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(samples, -1.0, 1.0, out=samples)
