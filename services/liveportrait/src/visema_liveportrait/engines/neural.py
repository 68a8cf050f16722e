"""The neural engine: LivePortrait, driven by the motion plan instead of a driving video."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from visema_kit.checkpoints_store import CheckpointFolder
from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineDescription
from visema_kit.torch_compile import NetworkCompiler
from visema_kit.torch_device import watch_memory
from visema_media.framing import FramedPortrait

from visema_liveportrait.engines.neural_device import ComputeDevice
from visema_liveportrait.engines.neural_motion import SourceFace, closed_lips, driving_keypoints, eye_openness
from visema_liveportrait.engines.neural_networks import NAME, DeviceNetworks
from visema_liveportrait.engines.neural_track import LandmarkMotion
from visema_liveportrait.engines.neural_weights import LivePortraitNetworks, load_networks
from visema_liveportrait.engines.protocol import RenderedFrames
from visema_liveportrait.geometry import FloatArray, ImageArray
from visema_liveportrait.geometry.crop import (
    SOURCE_CROP_PX,
    SOURCE_SCALE,
    SOURCE_SHIFT,
    crop_box,
    crop_matrix,
    invert,
    network_input,
    shrink_to_network,
    warp,
)
from visema_liveportrait.geometry.driving import Networks, Openness
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT, Motion
from visema_liveportrait.geometry.paste import mask_in_picture, paste_back, soft_mask
from visema_liveportrait.geometry.pose import degrees_from_logits, rotation_matrices
from visema_liveportrait.geometry.ratios import eye_ratios, lip_ratio
from visema_liveportrait.geometry.retargeting import Perceptron
from visema_liveportrait.model.fast import SourceVolume
from visema_liveportrait.motion_plan import MotionPlan

VERSION = "2"


class NeuralSettings(Protocol):
    """What the engine reads of the service's settings."""

    @property
    def checkpoint_dir(self) -> Path | None:
        """Folder with the weights."""
        ...

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:N`."""
        ...

    @property
    def precision(self) -> str:
        """`auto` or a number format."""
        ...

    @property
    def torch_compile(self) -> bool:
        """Run the network of the frames through torch's compiler."""
        ...

    @property
    def device_memory_mib(self) -> int:
        """Most memory of a GPU; 0: all that is free."""
        ...


def load_neural_engine(settings: NeuralSettings, meter: DeviceMeter | None = None) -> LivePortraitEngine:
    """The engine with the weights of the checkpoint folder, warmed up.

    Args: meter: Learns what the device does.
    Raises: CheckpointMissing: weights are absent or wrong, or the device is not there.
    """
    compute = ComputeDevice.choose(settings.device, settings.precision)
    meter = meter or DeviceMeter()
    watch_memory(meter, compute.device, settings.device_memory_mib)
    networks = load_networks(CheckpointFolder.at(settings.checkpoint_dir))
    compiler = NetworkCompiler(NAME, compute.device, meter) if settings.torch_compile else None
    engine = LivePortraitEngine(networks, compute, meter, compiler)
    engine.warm_up()
    return engine


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where the crop lies in the frame, and the part of the frame that changes."""

    crop_to_window: FloatArray
    mask: FloatArray
    rows: slice
    columns: slice


class LivePortraitEngine:
    """Animates portraits with the LivePortrait networks.

    Keypoint mathematics and the small perceptrons run in float32 on the CPU, where they cost 0.1 ms; the other networks
    where `DeviceNetworks` put them.
    """

    def __init__(
        self,
        networks: LivePortraitNetworks,
        compute: ComputeDevice,
        meter: DeviceMeter | None = None,
        compiler: NetworkCompiler | None = None,
    ) -> None:
        """Put the networks where they compute. Args: compiler: Of the network that runs for every frame."""
        self._compute = compute
        self._sha256 = networks.sha256
        self._perceptrons = Networks(
            _perceptron(networks.stitching), _perceptron(networks.eyes), _perceptron(networks.lips)
        )
        self._meter = meter or DeviceMeter()
        self._networks = DeviceNetworks(networks, compute, self._meter, compiler)

    def describe(self) -> EngineDescription:
        """What computes."""
        compiled = "-compiled" if self._networks.compiled else ""
        return EngineDescription(
            name=NAME,
            version=f"{VERSION}-{str(self._compute.dtype).removeprefix('torch.')}{compiled}",
            model_license="MIT",
            weights_sha256=self._sha256,
            device=str(self._compute),
            # Eye and lip openness come from MediaPipe's mesh; the 203-point landmark model is not used.
            capabilities=("blink", "breathing", "expression", "gaze", "head-motion", "any-aspect", "mediapipe-ratios"),
        )

    def warm_up(self) -> None:
        """See `DeviceNetworks.warm_up`."""
        self._networks.warm_up()

    def check_room(self) -> None:
        """Raises: DeviceBusy: there is no memory for one more portrait and a frame of it at the moment."""
        self._meter.check_room()

    def prepare(self, portrait: FramedPortrait) -> NeuralPortrait:
        """Crop the face and compute everything that depends on the portrait only.

        Raises: ResourceExhausted: the device has no memory for it.
        """
        points = portrait.face.points_px
        box = crop_box(points, scale=SOURCE_SCALE, vertical_shift=SOURCE_SHIFT)
        to_crop = crop_matrix(box, SOURCE_CROP_PX)
        crop = warp(portrait.bgr, to_crop, SOURCE_CROP_PX, SOURCE_CROP_PX)
        rgb = np.asarray(cv2.cvtColor(shrink_to_network(crop), cv2.COLOR_BGR2RGB), np.uint8)
        picture = network_input(rgb)
        raw = self._networks.motion(picture)
        angles = np.concatenate([degrees_from_logits(raw[angle]) for angle in ("pitch", "yaw", "roll")])
        motion = Motion(
            rotation_matrices(angles[0:1], angles[1:2], angles[2:3]),
            raw["exp"].reshape(1, KEYPOINT_COUNT, 3),
            raw["t"],
            raw["scale"],
        )
        openness = Openness(eye_ratios(points[None]), lip_ratio(points[None]))
        height = portrait.face.height_px * SOURCE_CROP_PX / box.side_px * 2 / SOURCE_CROP_PX
        face = SourceFace(raw["kp"].reshape(1, KEYPOINT_COUNT, 3), angles, motion, openness, height)
        return NeuralPortrait(
            portrait=portrait,
            face=face,
            source=self._networks.source(picture, face.x_s),
            to_crop=to_crop,
            perceptrons=self._perceptrons,
            networks=self._networks,
        )


class NeuralPortrait:
    """A portrait with its features; renders any frame of any plan."""

    def __init__(
        self,
        *,
        portrait: FramedPortrait,
        face: SourceFace,
        source: SourceVolume,
        to_crop: FloatArray,
        perceptrons: Networks,
        networks: DeviceNetworks,
    ) -> None:
        self._bgr, self._face, self._source = portrait.bgr, face, source
        self._perceptrons, self._networks = perceptrons, networks
        self._lip_offsets = closed_lips(face, perceptrons)
        self._landmarks = LandmarkMotion(portrait.face.points_px, to_crop, face.x_s)
        self._placement = _place(to_crop, portrait.bgr)

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        return int(self._bgr.nbytes + self._placement.mask.nbytes + self._source.size_bytes)

    def render(self, plan: MotionPlan, first: int, count: int) -> RenderedFrames:
        """Frames `first` to `first + count` of `plan`.

        Raises: ResourceExhausted: the device has no memory for a single frame.
        """
        part = _part(plan, first, count)
        x_d = driving_keypoints(self._face, part, self._perceptrons, self._lip_offsets)
        frames = np.empty((count, *self._bgr.shape), np.uint8)
        for index, crop in enumerate(chain.from_iterable(self._networks.pictures(self._source, x_d))):
            frames[index] = self._pasted(crop)
        openness = eye_openness(part) if self._face.blinks else np.ones(count, np.float32)
        track = self._landmarks.track(x_d, openness, lips_closed=self._lip_offsets is not None)
        return RenderedFrames(frames, track)

    def _pasted(self, crop: ImageArray) -> ImageArray:
        place = self._placement
        frame = self._bgr.copy()
        window = frame[place.rows, place.columns]
        frame[place.rows, place.columns] = paste_back(crop, place.crop_to_window, window, place.mask)
        return frame


def _place(to_crop: FloatArray, bgr: ImageArray) -> _Placement:
    """The window of the frame in which the mask is not empty."""
    height, width = bgr.shape[:2]
    back = invert(to_crop)
    mask = mask_in_picture(soft_mask(), back, width, height)
    rows, columns = np.flatnonzero(mask.any(axis=(1, 2))), np.flatnonzero(mask.any(axis=(0, 2)))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float32)
    window = np.ascontiguousarray(mask[top:bottom, left:right])
    return _Placement(np.asarray(shift @ back, np.float32), window, slice(top, bottom), slice(left, right))


def _part(plan: MotionPlan, first: int, count: int) -> MotionPlan:
    """Frames `first` to `first + count` as a plan of their own."""
    series = {name: values[first : first + count] for name, values in plan.series().items()}
    return MotionPlan(**series, expression=plan.expression)


def _perceptron(network: nn.Module) -> Perceptron:
    """A small network as a function on float32 rows, on the CPU."""

    def run(rows: FloatArray) -> FloatArray:
        with torch.inference_mode():
            result: Tensor = network(torch.from_numpy(rows))
        return np.asarray(result.numpy(), np.float32)

    return run
