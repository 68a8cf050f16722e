"""Pictures beside the video: the poster and the stills that were asked for."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from visema_media.segments import SegmentContent
from visema_media.track import FaceTrack

POSTER_TYPE, STILL_TYPE = "image/jpeg", "image/png"
_POSTER_QUALITY = 92
# Mesh indices: upper lid, lower lid and the two corners of each eye.
_EYES = ((159, 145, 33, 133), (386, 374, 263, 362))


class Pictures:
    """Keeps the best poster of the first segment and the wanted stills, encoded, as the frames pass."""

    def __init__(self, still_frames: tuple[int, ...]) -> None:
        self._wanted = frozenset(still_frames)
        self._first_frame = 0
        self.poster_jpeg = b""
        self.still_pngs: dict[int, bytes] = {}

    def add(self, content: SegmentContent, frame_count: int) -> None:
        """Look at the first `frame_count` frames of the next segment."""
        if not self.poster_jpeg:
            best = widest_open_eyes(content.track.slice(0, frame_count))
            self.poster_jpeg = _encode(".jpg", content.frames[best], [cv2.IMWRITE_JPEG_QUALITY, _POSTER_QUALITY])
        for position in self._wanted_below(frame_count):
            self.still_pngs[self._first_frame + position] = _encode(".png", content.frames[position], [])
        self._first_frame += frame_count

    def _wanted_below(self, frame_count: int) -> Iterator[int]:
        return (position for position in range(frame_count) if self._first_frame + position in self._wanted)


def widest_open_eyes(track: FaceTrack) -> int:
    """Position of the frame that shows the face at its best: no blink. The middle where the eyes are not tracked."""
    try:
        openness = sum(_eye_openness(track.select(eye)) for eye in _EYES)
    except KeyError:
        return len(track) // 2
    return int(np.argmax(openness))


def _eye_openness(points_px: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lid distance over eye width: float32 (N,) from (N, 4, 2)."""
    lids = np.linalg.norm(points_px[:, 0] - points_px[:, 1], axis=1)
    corners = np.linalg.norm(points_px[:, 2] - points_px[:, 3], axis=1)
    return np.asarray(lids / np.maximum(corners, 1.0), np.float32)


def _encode(suffix: str, bgr: npt.NDArray[np.uint8], settings: list[int]) -> bytes:
    encoded: bytes = cv2.imencode(suffix, bgr, settings)[1].tobytes()
    return encoded
