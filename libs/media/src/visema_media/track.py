"""Face track: where the face is in each frame, carried with a segment so that no later stage detects anything."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MESH_POINT_COUNT = 478  # MediaPipe face mesh with irises


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """Boxes and landmarks of one face over consecutive frames.

    Attributes:
        landmark_ids: int32 (K,), MediaPipe mesh indices of the tracked landmarks, ascending.
        points_px: float32 (N, K, 2), x and y in pixels of the frame; pixel centres have integer coordinates.
        boxes_px: float32 (N, 4), left, top, width, height of the face in pixels.
    """

    landmark_ids: npt.NDArray[np.int32]
    points_px: npt.NDArray[np.float32]
    boxes_px: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        frames, landmarks = self.points_px.shape[:2]
        if self.points_px.shape != (frames, landmarks, 2) or self.boxes_px.shape != (frames, 4):
            raise ValueError(f"track shapes {self.points_px.shape} and {self.boxes_px.shape} do not fit")
        if self.landmark_ids.shape != (landmarks,):
            raise ValueError(f"{self.landmark_ids.shape} landmark ids for {landmarks} landmarks")

    def __len__(self) -> int:
        return len(self.points_px)

    def slice(self, first: int, count: int) -> FaceTrack:
        """Frames `first` to `first + count` as a track of their own."""
        last = first + count
        return FaceTrack(self.landmark_ids, self.points_px[first:last], self.boxes_px[first:last])

    def select(self, landmark_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Points of the given landmarks in the given order: float32 (N, len(landmark_ids), 2).

        Raises: KeyError: a landmark is not tracked.
        """
        column = {int(landmark): index for index, landmark in enumerate(self.landmark_ids)}
        return self.points_px[:, [column[landmark] for landmark in landmark_ids]]

    def to_bytes(self) -> bytes:
        """Serialise without code: a compressed numpy archive."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, landmark_ids=self.landmark_ids, points_px=self.points_px, boxes_px=self.boxes_px)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, archive: bytes) -> FaceTrack:
        """Inverse of `to_bytes`. Raises: ValueError, KeyError, OSError: not such an archive."""
        with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
            return cls(
                arrays["landmark_ids"].astype(np.int32),
                arrays["points_px"].astype(np.float32),
                arrays["boxes_px"].astype(np.float32),
            )
