"""The embedded engine: a portrait's own lips moved by geometry from the sound alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineDescription
from visema_media.track import FaceTrack

from visema_wav2lip.engines.embedded import geometry, pose, seam, teeth, warp
from visema_wav2lip.engines.embedded.interior import Interior
from visema_wav2lip.engines.embedded.palette import take_palette
from visema_wav2lip.engines.protocol import (
    USUAL_PIXELS,
    Frame,
    LipSyncSession,
    LipSyncSettings,
    Samples,
    SegmentPart,
)
from visema_wav2lip.mouthplan import MouthPlan, MouthPose
from visema_wav2lip.visemes import plan_mouth

NAME = "embedded"
_CALL_PIXELS = 8 * USUAL_PIXELS  # a tenth of a second
_VERSION = "4"  # raise it with every change of the pictures: it is part of each object's key
_JAW_GAIN_PER_FACE = 0.31  # face height / mouth width of an ordinary face gives 1
_JAW_GAIN_LIMITS = (0.80, 1.30)
_NOSE_MARGIN = 0.03  # W below the nose base where the lip's motion ends
WARN_FLAT = "The face is turned far to the side: the lips may look flat."
_FLAT_TURN = 0.42  # asymmetry of the lips' halves that says: turned by about 35 degrees and more


class EmbeddedEngine:
    """Lip-sync without weights. Everything it needs is in the reference frame and its landmarks."""

    def __init__(self, meter: DeviceMeter | None = None) -> None:
        """Args: meter: Learns what the device does."""
        self._meter = meter or DeviceMeter()

    def describe(self) -> EngineDescription:
        """Who computes."""
        return EngineDescription(
            name=NAME,
            version=_VERSION,
            model_license="Apache-2.0",
            weights_sha256="",
            device="cpu",
            capabilities=("foreign-video", "any-size"),
        )

    def frames_per_call(self, frame_pixels: int) -> int:
        """See the protocol."""
        return max(1, _CALL_PIXELS // frame_pixels)

    @property
    def crosses_segments(self) -> bool:
        """Frames are drawn one by one."""
        return False

    def check_room(self) -> None:
        """There always is: frames are drawn one by one in the process's own memory."""

    def open(  # noqa: PLR0917 - the protocol's
        self,
        reference_frame: Frame,
        reference_track_row: FaceTrack,
        audio: Samples,
        frame_rate: Fraction,
        frame_count: int,
        settings: LipSyncSettings,
    ) -> LipSyncSession:
        """Analyse the speech and the reference face. Raises: LandmarksMissing: the track holds no lips."""
        plan = plan_mouth(audio, frame_rate, frame_count).scaled(settings.mouth_strength)
        return EmbeddedSession(plan, reference_frame, reference_track_row, self._meter)


class EmbeddedSession:
    """One clip: the reference face, measured once, and the mouth plan."""

    def __init__(self, plan: MouthPlan, reference_frame: Frame, reference_row: FaceTrack, meter: DeviceMeter) -> None:
        self._plan = plan
        self._meter = meter
        self._row = reference_row
        self._face = measure_mouth(reference_frame, reference_row)
        self._cancelled = threading.Event()

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about this face."""
        contours = self._face.contours
        middle = float(np.interp(0.0, contours.side, contours.x))
        if abs(2 * middle) > _FLAT_TURN / 2:
            return (WARN_FLAT,)
        return ()

    def apply(self, parts: Sequence[SegmentPart]) -> list[Frame]:
        """Move the mouth in each wanted frame."""
        results: list[Frame] = []
        for part in parts:
            part.check_inside(len(self._plan))
            results += self._moved(part)
        self._meter.batch_done(NAME, len(results))
        return results

    def _moved(self, part: SegmentPart) -> Iterator[Frame]:
        track = part.track.slice(part.wanted.start, len(part.wanted))
        motion = geometry.face_motion(self._row, track)
        depth = geometry.depth_shift(self._row, track, motion, self._face.axes)
        for i, frame in enumerate(part.wanted_frames):
            if self._cancelled.is_set():
                raise CancelledError
            moved = (float(depth[i, 0]), float(depth[i, 1]))
            mouth = self._plan.pose(part.first_frame + part.wanted[i])
            yield self._face.draw(frame, motion[i], mouth, moved)

    def cancel(self) -> None:
        """Stop before the next frame. Any thread."""
        self._cancelled.set()


@dataclass(frozen=True, slots=True)
class MouthModel:
    """All that is measured once on the reference frame."""

    axes: geometry.MouthAxes
    contours: geometry.LipContours
    closing: geometry.Floats
    proportions: pose.FaceProportions
    grid: warp.LocalGrid
    interior: Interior

    def draw(
        self,
        frame: Frame,
        motion: geometry.Doubles,
        mouth: MouthPose,
        depth_shift: tuple[float, float],
    ) -> Frame:
        """`frame` with the mouth in the given pose; the same array when a closed photo's mouth rests."""
        if mouth.at_rest and not self.proportions.parted:
            return frame
        region = warp.region_of(self.grid, self.axes, motion, frame.shape)
        if region.empty:
            return frame
        lips = pose.lip_targets(mouth, self.contours, self.closing, self.proportions)
        fields = warp.mouth_fields(self.grid, self.contours, lips, self.proportions)
        warped = warp.warp_region(frame, region, self.grid, fields)
        self.interior.paint(warped, lips, mouth, depth_shift, region.pixel_w)
        result = frame.copy()
        result[region.window] = warped.pixels
        return result


def measure_mouth(reference_frame: Frame, reference_row: FaceTrack) -> MouthModel:
    """Measure the mouth once. Raises: LandmarksMissing: the track holds no lips."""
    face = geometry.FaceFrame.from_row(reference_row)
    axes = geometry.mouth_axes(face)
    contours, opening = seam.refine_contours(reference_frame, axes, geometry.mesh_contours(face, axes))
    closing = seam.closing_line(contours)
    parted = opening is not None
    palette = take_palette(reference_frame, face, parted=parted)
    proportions = pose.FaceProportions(
        jaw_gain=float(np.clip(_JAW_GAIN_PER_FACE * face.height_px / axes.width_px, *_JAW_GAIN_LIMITS)),
        chin=float(axes.to_local(face.points[geometry.CHIN])[1]),
        nose=float(axes.to_local(face.points[geometry.NOSE_BASE])[1]) + _NOSE_MARGIN,
        parted=parted,
        smile=pose.smile_share(contours, closing),
    )
    return MouthModel(
        axes=axes,
        contours=contours,
        closing=closing,
        proportions=proportions,
        grid=warp.LocalGrid.around(proportions),
        interior=Interior(
            contours=contours,
            palette=palette,
            teeth=teeth.make_teeth(reference_frame, axes, contours, palette, opening),
            parted=parted,
        ),
    )
