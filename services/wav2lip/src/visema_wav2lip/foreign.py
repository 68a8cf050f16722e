"""Finds the face in videos that come without a track: every second frame is looked at, the others lie between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from visema_media.face import FaceLandmarks, find_faces
from visema_media.track import MESH_POINT_COUNT, FaceTrack

from visema_wav2lip.engines.protocol import Frame

_STRIDE = 2  # frames; a head hardly moves in 40 ms and detection is the dearest step
_SAME_FACE_SHARE = 0.6  # of the face's width that it may move between two looks


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """Track of a foreign segment.

    Attributes:
        track: All mesh landmarks; frames without a face repeat the nearest one with a face.
        seen: bool (N,), False where no face was found.
    """

    track: FaceTrack
    seen: npt.NDArray[np.bool_]


def has_face_track(track: FaceTrack) -> bool:
    """False for a foreign video: its segments carry a track without landmarks."""
    return len(track.landmark_ids) > 0


def track_faces(frames: Sequence[Frame], start_box: tuple[float, float, float, float] | None) -> FoundFaces | None:
    """Follow one face: the one next to `start_box` (left, top, width, height), else the largest.

    Returns: None when no frame shows a face.
    """
    looked_at = sorted({*range(0, len(frames), _STRIDE), len(frames) - 1})
    box = start_box
    points: list[npt.NDArray[np.float32]] = []
    hits: list[int] = []
    for position in looked_at:
        face = _nearest(find_faces(frames[position]), box)
        if face is None:
            continue
        box = face.box_px
        points.append(face.points_px[:, :2])
        hits.append(position)
    if not hits:
        return None
    at = np.arange(len(frames))
    found = np.stack(points).reshape(len(hits), -1)  # (H, 478 * 2)
    place = np.interp(at, hits, np.arange(len(hits)))
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(hits) - 1)
    share = (place - before)[:, None]
    smooth = (found[before] * (1 - share) + found[after] * share).astype(np.float32)
    mesh = smooth.reshape(len(frames), MESH_POINT_COUNT, 2)
    low, high = mesh.min(axis=1), mesh.max(axis=1)
    track = FaceTrack(np.arange(MESH_POINT_COUNT, dtype=np.int32), mesh, np.concatenate([low, high - low], axis=1))
    looks = np.array(looked_at)
    was_hit = np.isin(looks, hits)
    # A frame between two looks shows a face when both of them do.
    left = was_hit[np.searchsorted(looks, at, side="right") - 1]
    right = was_hit[np.searchsorted(looks, at, side="left")]
    return FoundFaces(track, left & right)


def _nearest(
    faces: Sequence[FaceLandmarks],
    box: tuple[float, float, float, float] | None,
) -> FaceLandmarks | None:
    if not faces:
        return None
    if box is None:
        return max(faces, key=lambda face: face.height_px)
    left, top, width, height = box

    def distance(face: FaceLandmarks) -> float:
        x, y, w, h = face.box_px
        return float(np.hypot(x + w / 2 - left - width / 2, y + h / 2 - top - height / 2))

    nearest = min(faces, key=distance)
    return nearest if distance(nearest) < _SAME_FACE_SHARE * width else None
