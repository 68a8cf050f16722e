"""The embedded engine: one photo, a linear mix of displacement fields, painted eyelids, one remap per frame."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineDescription
from visema_media.face import person_mask
from visema_media.framing import FramedPortrait

from visema_liveportrait.engines.embedded.eye_shape import shape_eye
from visema_liveportrait.engines.embedded.eyelids import Eyelids
from visema_liveportrait.engines.embedded.face_motion import LidMotion, carried, track_of
from visema_liveportrait.engines.embedded.fields import BasisFields, build_fields
from visema_liveportrait.engines.embedded.grain import motion_share, within_share
from visema_liveportrait.engines.embedded.mesh_points import LEFT_EYE, RIGHT_EYE, SKIN_POINT_COUNT
from visema_liveportrait.engines.embedded.regions import analyse, motion_window
from visema_liveportrait.engines.protocol import RenderedFrames
from visema_liveportrait.motion_plan import MotionPlan

NAME, VERSION = "embedded", "3"
ENLARGEMENT = 2  # sampling the portrait itself would pulse in sharpness with sub-pixel motion
# A picture enlarged this much for the frame has no fine detail that sharper kernels could keep: linear ones keep at
# least 0.9 of its Laplacian energy and do not pulse there, in half the time.
SOFT_FROM_SCALE = 2.5


class EmbeddedEngine:
    """Animates any portrait on a CPU; needs no weights of its own."""

    def __init__(self, meter: DeviceMeter | None = None) -> None:
        """Args: meter: Learns what the device does."""
        self._meter = meter or DeviceMeter()

    def describe(self) -> EngineDescription:
        """What computes."""
        return EngineDescription(
            name=NAME,
            version=VERSION,
            model_license="Apache-2.0",
            weights_sha256="",
            device="cpu",
            capabilities=("blink", "breathing", "expression", "gaze", "head-motion", "any-aspect"),
        )

    def check_room(self) -> None:
        """There always is: frames are drawn one by one in the process's own memory."""

    def prepare(self, portrait: FramedPortrait) -> EmbeddedPortrait:
        """Analyse a framed portrait; takes 0.1 to 0.3 s."""
        height, width = portrait.bgr.shape[:2]
        points = portrait.face.points_px
        window = motion_window(points, width, height)
        inside = portrait.bgr[window.top : window.bottom, window.left : window.right]
        regions = analyse(points, window, person_mask(np.ascontiguousarray(inside)), width, height)
        fields = build_fields(regions, points, portrait.face.yaw_degrees)
        return EmbeddedPortrait(portrait.bgr, points, fields, self._meter, soft=portrait.scale >= SOFT_FROM_SCALE)


class EmbeddedPortrait:
    """A portrait with its fields and eyes."""

    def __init__(
        self,
        bgr: npt.NDArray[np.uint8],
        points: npt.NDArray[np.float32],
        fields: BasisFields,
        meter: DeviceMeter,
        *,
        soft: bool,
    ) -> None:
        """Make it ready.

        Args:
            bgr: uint8 (H, W, 3), the framed portrait.
            points: float32 (478, 3), the face in it.
            fields: How it can move.
            meter: Learns how many frames are drawn at once.
            soft: The picture was enlarged and has no fine detail.
        """
        self._meter = meter
        height, width = bgr.shape[:2]
        size = (width * ENLARGEMENT, height * ENLARGEMENT)
        enlarge, self._sample = (cv2.INTER_LINEAR, cv2.INTER_LINEAR) if soft else (cv2.INTER_LANCZOS4, cv2.INTER_CUBIC)
        self._enlarged = np.asarray(cv2.resize(bgr, size, interpolation=enlarge), np.uint8)
        self._points = np.ascontiguousarray(points[:, :2])
        self._motion_share = motion_share(bgr, points)
        self._fields = fields
        self._map_x, self._map_y = self._resting_maps()
        self._still = self._resting_frame(height, width)
        enlarged_points = (points[:, :2].astype(np.float64) + 0.5) * ENLARGEMENT - 0.5
        outline = cv2.convexHull(enlarged_points.astype(np.float32)).astype(np.float64).reshape(-1, 2)
        light = _face_light(self._enlarged, enlarged_points)
        self._eyes = [
            Eyelids(self._enlarged, shape_eye(enlarged_points, eye, *size), outline, light)
            for eye in (RIGHT_EYE, LEFT_EYE)
        ]
        self._lids = [
            LidMotion(eye, eyelids, enlarged_points, ENLARGEMENT)
            for eye, eyelids in zip((RIGHT_EYE, LEFT_EYE), self._eyes, strict=True)
        ]

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        arrays = (self._enlarged, self._still, self._map_x, self._map_y, self._fields.basis)
        return sum(array.nbytes for array in arrays) + sum(eye.size_bytes for eye in self._eyes)

    def render(self, plan: MotionPlan, first: int, count: int) -> RenderedFrames:
        """Frames `first` to `first + count` of `plan`."""
        plan = within_share(plan, self._motion_share)
        coefficients = self._fields.coefficients(plan)
        canvas = self._enlarged.copy()  # the eyes are painted into it; the portrait itself stays
        frames = np.empty((count, *self._still.shape), np.uint8)
        points = np.empty((count, *self._points.shape), np.float32)
        for place, number in enumerate(range(first, first + count)):
            field = self._fields.field(coefficients[number])
            self._paint_eyes(canvas, plan, number)
            frames[place] = self._still
            self._warp(canvas, field, frames[place])
            points[place] = self._landmarks(plan, number, field)
        self._meter.batch_done(NAME, count)
        return RenderedFrames(frames, track_of(points))

    def _resting_maps(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Where each pixel of the moving window lies in the enlarged portrait."""
        window = self._fields.window
        y, x = np.mgrid[window.top : window.bottom, window.left : window.right].astype(np.float32)
        offset = (ENLARGEMENT - 1) / 2.0
        return (x * ENLARGEMENT + offset).astype(np.float32), (y * ENLARGEMENT + offset).astype(np.float32)

    def _resting_frame(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """The unmoved frame, through the same resampling as the moving part, so that no border shows."""
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        offset = (ENLARGEMENT - 1) / 2.0
        map_x, map_y = x * ENLARGEMENT + offset, y * ENLARGEMENT + offset
        return np.asarray(
            cv2.remap(
                self._enlarged,
                map_x.astype(np.float32),
                map_y.astype(np.float32),
                self._sample,
                borderMode=cv2.BORDER_REFLECT_101,
            ),
            np.uint8,
        )

    def _paint_eyes(self, canvas: npt.NDArray[np.uint8], plan: MotionPlan, number: int) -> None:
        for eyelids, openness in zip(self._eyes, (plan.right_open, plan.left_open), strict=True):
            window = eyelids.shape.window
            canvas[window.top : window.bottom, window.left : window.right] = eyelids.paint(
                float(openness[number]), float(plan.gaze_x_deg[number]), float(plan.gaze_y_deg[number])
            )

    def _warp(
        self, canvas: npt.NDArray[np.uint8], field: npt.NDArray[np.float32], frame: npt.NDArray[np.uint8]
    ) -> None:
        """Draw the moving window of one frame.

        The backward map is the negated forward field, and the landmarks are carried by the same map's inverse.
        """
        window = self._fields.window
        size = (window.width, window.height)
        map_x = cv2.scaleAdd(cv2.resize(field[0], size, interpolation=cv2.INTER_LINEAR), -ENLARGEMENT, self._map_x)
        map_y = cv2.scaleAdd(cv2.resize(field[1], size, interpolation=cv2.INTER_LINEAR), -ENLARGEMENT, self._map_y)
        frame[window.top : window.bottom, window.left : window.right] = cv2.remap(
            canvas, map_x, map_y, self._sample, borderMode=cv2.BORDER_REFLECT_101
        )

    def _landmarks(self, plan: MotionPlan, number: int, field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        points = self._points.copy()
        for lids, openness in zip(self._lids, (plan.right_open, plan.left_open), strict=True):
            lids.apply(points, float(openness[number]), float(plan.gaze_x_deg[number]), float(plan.gaze_y_deg[number]))
        return carried(points, field, self._fields.window)


def _face_light(enlarged: npt.NDArray[np.uint8], points: npt.NDArray[np.float64]) -> float:
    """Median grey level at the mesh points that lie inside the picture."""
    height, width = enlarged.shape[:2]
    x, y = np.round(points[:SKIN_POINT_COUNT]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    colours = enlarged[y[inside], x[inside]]
    return float(np.median(cv2.cvtColor(colours[None], cv2.COLOR_BGR2GRAY))) if len(colours) else 1.0
