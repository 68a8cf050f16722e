"""Writes one MP4: H.264 in BT.709 and AAC at 48 kHz, video and audio of the same length."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from visema_kit.errors import InvalidInput
from visema_media.audio import CANONICAL_RATE_HZ, Samples, sample_of_frame
from visema_media.colour import Bt709Converter

from visema_encoder.codecs import SOFTWARE, codec_settings, set_up
from visema_encoder.options import EncodingOptions, VideoShape

MEDIA_TYPE = "video/mp4"
_FASTSTART = "use_metadata_tags+faststart"
# `empty_moov` would start the video late: the edit list is known only when the first frames are there.
_FRAGMENTED = "use_metadata_tags+frag_keyframe+delay_moov+default_base_moof"
_LAYOUTS = {1: "mono", 2: "stereo"}


def fit_audio(samples: Samples, shape: VideoShape) -> Samples:
    """Audio at 48 kHz padded with silence or cut to the length of the video: float32 (channels, n)."""
    wanted = sample_of_frame(shape.frame_count, CANONICAL_RATE_HZ, shape.frame_rate)
    missing = wanted - samples.shape[1]
    return samples[:, :wanted] if missing <= 0 else np.pad(samples, ((0, 0), (0, missing)))


class Mp4Writer:
    """An MP4 file that grows frame by frame in constant memory.

    All methods block; they may run in any thread, but never in two at once. Use as a context manager: leaving it closes
    the file, complete or not; only `finish` makes it complete.
    """

    def __init__(
        self,
        path: Path,
        shape: VideoShape,
        samples: Samples,
        options: EncodingOptions,
        metadata: Mapping[str, str],
        *,
        encoder: str = SOFTWARE,
        thread_count: int = 1,
    ) -> None:
        """Open the encoders.

        Args: samples: float32 (channels, n) at 48 kHz, 1 or 2 channels.
        Raises: av.FFmpegError: the video encoder does not open.
        """
        self.shape = shape
        self.frames_written = 0
        self._samples = fit_audio(samples, shape)
        self._samples_written = 0
        self._converter = Bt709Converter()
        flags = _FRAGMENTED if options.fragmented else _FASTSTART
        self._container: OutputContainer = av.open(
            str(path), mode="w", format="mp4", options={"movflags": flags, "fflags": "+bitexact"}
        )
        try:
            self._container.metadata.update(metadata)
            self._video = self._open_video(encoder, options, thread_count)
            self._audio = self._open_audio(options)
        except BaseException:
            self._container.close()
            raise

    def _open_video(self, encoder: str, options: EncodingOptions, thread_count: int) -> VideoStream:
        stream = self._container.add_stream(
            encoder, rate=self.shape.frame_rate, options=codec_settings(encoder, options)
        )
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{encoder} is no video encoder")
        set_up(stream.codec_context, self.shape, options, thread_count)
        stream.codec_context.open()
        return stream

    def _open_audio(self, options: EncodingOptions) -> AudioStream:
        layout = _LAYOUTS[len(self._samples)]
        stream = self._container.add_stream("aac", rate=CANONICAL_RATE_HZ, layout=layout)
        stream.codec_context.bit_rate = options.audio_bitrate_bps
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._container.close()

    def write(self, frames: npt.NDArray[np.uint8]) -> None:
        """Append frames uint8 (N, H, W, 3), BGR, with the audio below them.

        Raises: InvalidInput: another size, or more frames than announced.
        """
        if frames.shape[1:] != (self.shape.height_px, self.shape.width_px, 3):
            raise InvalidInput("The frames of the segments differ in size.", field="segment")
        if self.frames_written + len(frames) > self.shape.frame_count:
            raise InvalidInput(f"More than the announced {self.shape.frame_count} frames came.", field="segment")
        for bgr in frames:
            frame = self._converter.to_yuv(bgr)
            frame.pts = self.frames_written
            frame.time_base = 1 / self.shape.frame_rate
            self._container.mux(self._video.encode(frame))
            self.frames_written += 1
        self._write_audio(sample_of_frame(self.frames_written, CANONICAL_RATE_HZ, self.shape.frame_rate))

    def _write_audio(self, end_sample: int) -> None:
        part = self._samples[:, self._samples_written : end_sample]
        if not part.size:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=_LAYOUTS[len(part)])
        frame.sample_rate = CANONICAL_RATE_HZ
        frame.time_base = Fraction(1, CANONICAL_RATE_HZ)
        frame.pts = self._samples_written
        self._container.mux(self._audio.encode(frame))
        self._samples_written += part.shape[1]

    def finish(self) -> None:
        """Write what the encoders hold and the index.

        Raises: InvalidInput: fewer frames than announced.
        """
        if self.frames_written != self.shape.frame_count:
            raise InvalidInput(
                f"{self.frames_written} of {self.shape.frame_count} frames came.",
                field="open.frame_count",
                metadata={"frames": str(self.frames_written), "announced": str(self.shape.frame_count)},
            )
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()

    @property
    def audio_duration(self) -> Fraction:
        """Length of the audio in seconds."""
        return Fraction(self._samples.shape[1], CANONICAL_RATE_HZ)
