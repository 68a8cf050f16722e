"""One clip's meter: sums over the frames of a segment, whichever segment and whenever it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from visema.common.v1 import common_pb2
from visema_kit.quality import OPENING_STEP, OPENING_STEPS
from visema_media.track import FaceTrack

from visema_wav2lip.engines.protocol import Frame, Samples
from visema_wav2lip.quality.lips import mouth_openings, shows_lips
from visema_wav2lip.quality.picture import picture_sums
from visema_wav2lip.quality.sound import frame_sound

_LAG_REACH_S = Fraction(2, 5)  # how late or early lips are looked for

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class QualityMeter:
    """Measures the segments of one clip, in any order; pure per segment."""

    def __init__(self, speech: Samples, frame_rate: Fraction, frame_count: int) -> None:
        """Listen to the speech.

        Args: speech: float32 (n,), the whole of it, 16 kHz.
        """
        self._sound = frame_sound(speech, frame_rate, frame_count)
        self._reach = math.ceil(_LAG_REACH_S * frame_rate)
        self._loudness = np.pad(self._sound.loudness, self._reach)  # nothing is heard before and after the clip

    def measure(
        self, sources: Sequence[Frame], results: Sequence[Frame], track: FaceTrack, seen: Flags, first_frame: int
    ) -> common_pb2.QualityStatistics:
        """Sums over consecutive frames.

        Args:
            sources: Before lip-sync. results: After it. track: Of the sources. seen: bool (N,), which of them show
                the face; the mouth of the others is not measured. first_frame: Position of `sources[0]` in the clip.
        """
        known = seen & np.isfinite(track.points_px).all(axis=(1, 2)) & np.isfinite(track.boxes_px).all(axis=1)
        if not shows_lips(track) or not known.any():
            return common_pb2.QualityStatistics()
        places: list[int] = np.flatnonzero(known).tolist()
        chosen = FaceTrack(track.landmark_ids, track.points_px[places], track.boxes_px[places])
        openings = mouth_openings([sources[i] for i in places], [results[i] for i in places], chosen)
        frames = first_frame + np.array(places)
        lags = np.arange(-self._reach, self._reach + 1)
        loudness = self._loudness[frames[:, None] - lags + self._reach]  # (N, lags): of the sound a late mouth shows
        silent = self._sound.silent[frames]
        picture = picture_sums(sources, results, track.boxes_px.tolist(), first_frame)
        return common_pb2.QualityStatistics(
            frame_count=len(openings),
            speech_frame_count=int(np.count_nonzero(self._sound.speaks[frames])),
            openings=_counted(openings),
            silent_openings=_counted(openings[silent]),
            opening_sum=float(openings.sum()),
            opening_square_sum=float(np.square(openings).sum()),
            loudness_sums=loudness.sum(axis=0).tolist(),
            loudness_square_sums=np.square(loudness).sum(axis=0).tolist(),
            product_sums=(openings @ loudness).tolist(),
            outside_value_count=picture.outside_value_count,
            outside_square_sum=picture.outside_square_sum,
            flicker_pair_count=picture.flicker_pair_count,
            flicker_sum=picture.flicker_sum,
        )


def _counted(openings: npt.NDArray[np.float64]) -> list[int]:
    """How many openings lie in each step, up to the widest."""
    steps = np.clip((openings / OPENING_STEP).astype(np.int64), 0, OPENING_STEPS - 1)
    counts: list[int] = np.bincount(steps).tolist()
    return counts
