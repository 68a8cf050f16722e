"""S3FD's raw maps to face boxes: anchors, scores, overlap suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MEANS_RGB = np.array([104.0, 117.0, 123.0])  # subtracted from R, G, B in this order: so were the weights trained
ANCHOR_STRIDES = 4  # side of an anchor in strides
CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
CANDIDATE_SCORE = 0.05
FACE_SCORE = 0.5
OVERLAP_LIMIT = 0.3

Maps = Sequence[npt.NDArray[np.float32]]
Boxes = npt.NDArray[np.float32]


def detector_input(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 (B, H, W, 3) B, G, R -> float32 (B, 3, H, W) R, G, B minus the means."""
    centred = pictures[..., ::-1] - MEANS_RGB
    return np.ascontiguousarray(centred.transpose(0, 3, 1, 2), dtype=np.float32)


def candidates(maps: Maps, picture: int) -> Boxes:
    """Every anchor of one picture whose face score passes `CANDIDATE_SCORE`.

    Args: maps: twelve arrays, scores (B, 2, h, w) and shifts (B, 4, h, w) alternating, strides 4 to 128. picture:
        index in B.
    Returns: float32 (N, 5): left, top, right, bottom in pixels, score.
    """
    found = [np.zeros((0, 5), np.float32)]
    for level, (scores, shifts) in enumerate(zip(maps[::2], maps[1::2], strict=True)):
        stride = 2 ** (level + 2)
        logits = scores[picture].astype(np.float64)
        face_score = 1 / (1 + np.exp(logits[0] - logits[1]))  # softmax over background and face
        row, column = np.nonzero(face_score > CANDIDATE_SCORE)
        shift = shifts[picture][:, row, column].T  # (N, 4)
        side = ANCHOR_STRIDES * stride
        centre = stride / 2 + np.stack((column, row), axis=1) * stride + CENTRE_VARIANCE * shift[:, :2] * side
        half = side * np.exp(SIZE_VARIANCE * shift[:, 2:]) / 2
        boxes = np.concatenate((centre - half, centre + half, face_score[row, column, None]), axis=1)
        found.append(boxes.astype(np.float32))
    return np.concatenate(found)


def suppress_overlaps(boxes: Boxes) -> Boxes:
    """Keep the best of every group of overlapping boxes, best first. Sides count both end pixels (`right - left + 1`).

    Args: boxes: float32 (N, 5).
    Returns: float32 (M, 5), descending score.
    """
    remaining = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        low = np.maximum(best[:2], remaining[:, :2])
        high = np.minimum(best[2:4], remaining[:, 2:4])
        shared = np.maximum(0, high - low + 1).prod(axis=1)
        areas = (remaining[:, 2:4] - remaining[:, :2] + 1).prod(axis=1)
        own = (best[2:4] - best[:2] + 1).prod()
        remaining = remaining[shared / (own + areas - shared) <= OVERLAP_LIMIT]
    return np.array(kept, np.float32).reshape(-1, 5)


def detections(maps: Maps, picture: int) -> Boxes:
    """Faces of one picture: float32 (N, 5) left, top, right, bottom, score; the best first, none below `FACE_SCORE`."""
    boxes = suppress_overlaps(candidates(maps, picture))
    return boxes[boxes[:, 4] > FACE_SCORE]


def whole_box(detection: Boxes) -> tuple[int, int, int, int]:
    """One detection (5,) as whole pixels: negative edges become 0, fractions are cut off."""
    left, top, right, bottom = (int(edge) for edge in np.clip(detection[:4], 0, None))
    return left, top, right, bottom
