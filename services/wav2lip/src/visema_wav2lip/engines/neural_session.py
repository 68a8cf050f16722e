"""One clip through the Wav2Lip generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from visema_media.track import FaceTrack

from visema_wav2lip.boxes import Pads, track_boxes
from visema_wav2lip.chunks import mel_windows
from visema_wav2lip.compositing import FeatheredPaste
from visema_wav2lip.engines.neural_generator import FaceGenerator, Floats
from visema_wav2lip.engines.protocol import Frame
from visema_wav2lip.faces import crop_faces
from visema_wav2lip.mouth import mouth_bounds


@dataclass(frozen=True, slots=True)
class FramesWithoutFace:
    """A warning: these frames show no face that is large enough; they pass through unchanged."""

    first_frame: int
    count: int

    def __str__(self) -> str:
        last = self.first_frame + self.count - 1
        span = f"frame {last}" if self.count == 1 else f"frames {self.first_frame} to {last}"
        return f"no face in {span}: the picture is left as it is"


class NeuralSession:
    """A `LipSyncSession`. Pure per segment: a result depends on the segment, its position and the whole audio only."""

    def __init__(
        self,
        generator: FaceGenerator,
        mel: Floats,
        frame_rate: Fraction,
        frame_count: int,
        mouth_strength: float,
    ) -> None:
        self._generator = generator
        self._mel = mel
        self._frame_rate = frame_rate
        self._frame_count = frame_count
        self._mouth_strength = mouth_strength
        self._paste = FeatheredPaste()
        self._without_face: set[int] = set()
        self._cancelled = threading.Event()

    @property
    def warnings(self) -> Sequence[str]:
        """`frames_without_face` in words."""
        return [str(warning) for warning in self.frames_without_face]

    @property
    def frames_without_face(self) -> list[FramesWithoutFace]:
        """Unbroken runs of frames that passed through so far, in order."""
        runs: list[FramesWithoutFace] = []
        for frame in sorted(self._without_face):
            if runs and runs[-1].first_frame + runs[-1].count == frame:
                runs[-1] = FramesWithoutFace(runs[-1].first_frame, runs[-1].count + 1)
            else:
                runs.append(FramesWithoutFace(frame, 1))
        return runs

    def cancel(self) -> None:
        """Stop a running `apply` before its next batch, and every later one at once. Any thread."""
        self._cancelled.set()

    def apply(self, frames: Sequence[Frame], track: FaceTrack, first_frame: int) -> list[Frame]:
        """Frames whose mouth says the audio at their position.

        Args: frames: uint8 (H, W, 3), B, G, R, all of one size; are not changed. track: one row per frame.
        Returns: as many frames; one without a face is the very same array.
        Raises: ValueError: track and frames differ in length, or frames lie outside the clip. ResourceExhausted: out
            of memory. CancelledError: after `cancel`.
        """
        if len(track) != len(frames):
            raise ValueError(f"{len(track)} track rows for {len(frames)} frames")
        if first_frame < 0 or first_frame + len(frames) > self._frame_count:
            raise ValueError(f"frames {first_frame} to {first_frame + len(frames)} of {self._frame_count}")
        results = list(frames)
        if not results:
            return results
        boxes, visible = track_boxes(track, Pads(), frames[0].shape[:2])
        shown: list[int] = np.flatnonzero(visible).tolist()
        self._without_face.update((first_frame + np.flatnonzero(~visible)).tolist())
        mouths = mouth_bounds(track)
        windows = mel_windows(self._mel, first_frame, len(frames), self._frame_rate)[shown]
        crops = crop_faces([frames[i] for i in shown], boxes[shown])
        batches = self._generator.batches(windows, crops, self._mouth_strength)
        for i, face in zip(shown, self._until_cancelled(batches), strict=True):
            results[i] = frames[i].copy()
            self._paste.paste(results[i], face, tuple(boxes[i].tolist()), mouths[i])
        return results

    def _until_cancelled(self, batches: Iterator[Floats]) -> Iterator[Floats]:
        """The single faces of `batches`. Raises: CancelledError: after `cancel`, before the next batch is computed."""
        while not self._cancelled.is_set():
            faces = next(batches, None)
            if faces is None:
                return
            yield from faces
        raise CancelledError
