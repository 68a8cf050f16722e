"""One clip through the Wav2Lip generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from visema_wav2lip.boxes import Pads, track_boxes
from visema_wav2lip.chunks import mel_windows
from visema_wav2lip.compositing import Box, FeatheredPaste
from visema_wav2lip.engines.neural_generator import FaceGenerator, Floats, Pictures
from visema_wav2lip.engines.protocol import Frame, SegmentPart
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a face belongs: `result` counts the frames of a call."""

    result: int
    box_px: Box
    mouth_px: Box | None


@dataclass(frozen=True, slots=True)
class _Faces:
    """What the network gets in one call, and where each face belongs."""

    windows: list[Floats] = field(default_factory=list)
    crops: list[Pictures] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)


class NeuralSession:
    """A `LipSyncSession`. Boxes are smoothed over the whole segment, so a result depends on nothing but it and the
    audio; how many frames share a batch changes no more than float rounding.
    """

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

    def apply(self, parts: Sequence[SegmentPart]) -> list[Frame]:
        """Frames whose mouth says the audio at their position; the faces of all parts share batches.

        Returns: the wanted frames of all parts; one without a face is the very same array.
        Raises: ValueError: a segment lies outside the clip. ResourceExhausted: out of memory. CancelledError: after
            `cancel`.
        """
        results: list[Frame] = []
        faces = _Faces()
        for part in parts:
            part.check_inside(self._frame_count)
            self._look_at(part, len(results), faces)
            results += part.wanted_frames
        if not faces.places:
            return results
        windows, crops = np.concatenate(faces.windows), np.concatenate(faces.crops)
        batches = self._generator.batches(windows, crops, self._mouth_strength)
        for place, face in zip(faces.places, self._until_cancelled(batches), strict=True):
            results[place.result] = results[place.result].copy()
            self._paste.paste(results[place.result], face, place.box_px, place.mouth_px)
        return results

    def _look_at(self, part: SegmentPart, first_result: int, faces: _Faces) -> None:
        """Add what the network needs of a part whose frames are the results from `first_result` on."""
        if not part.wanted:
            return
        boxes, visible = track_boxes(part.track, Pads(), part.frames[0].shape[:2])
        mouths = mouth_bounds(part.track)
        shown = [i for i in part.wanted if visible[i]]
        self._without_face.update(part.first_frame + i for i in part.wanted if not visible[i])
        faces.windows.append(mel_windows(self._mel, part.first_frame, len(part.frames), self._frame_rate)[shown])
        faces.crops.append(crop_faces([part.frames[i] for i in shown], boxes[shown]))
        for i in shown:
            left, top, right, bottom = boxes[i].tolist()
            result = first_result + i - part.wanted.start
            faces.places.append(_Place(result, (left, top, right, bottom), mouths[i]))

    def _until_cancelled(self, batches: Iterator[Floats]) -> Iterator[Floats]:
        """The single faces of `batches`. Raises: CancelledError: after `cancel`, before the next batch is computed."""
        while not self._cancelled.is_set():
            faces = next(batches, None)
            if faces is None:
                return
            yield from faces
        raise CancelledError
