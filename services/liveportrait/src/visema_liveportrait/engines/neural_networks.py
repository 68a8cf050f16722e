"""The networks on their device, apart from all work on pictures: what a portrait and its frames take there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from visema_kit.device_meter import DeviceMeter
from visema_kit.torch_compile import NetworkCompiler
from visema_kit.torch_device import Batches, with_memory

from visema_liveportrait.engines.neural_device import ComputeDevice
from visema_liveportrait.engines.neural_weights import LivePortraitNetworks
from visema_liveportrait.geometry import FloatArray, ImageArray
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT
from visema_liveportrait.model.fast import SourceVolume, optimised

NAME = "liveportrait"
INPUT_PX = 256  # side of the picture that the networks look at

FrameFunction = Callable[[SourceVolume, Tensor], Tensor]  # as `FrameNetwork`


class DeviceNetworks:
    """Arrays in, arrays out. Used on the device's thread only.

    What runs once per portrait (appearance, motion) stays float32; what runs for every frame is the optimised network
    in the device's format.
    """

    def __init__(
        self,
        networks: LivePortraitNetworks,
        compute: ComputeDevice,
        meter: DeviceMeter | None = None,
        compiler: NetworkCompiler | None = None,
    ) -> None:
        """Put the networks where they compute.

        Args:
            meter: Learns of batches and of what a frame takes.
            compiler: Of the network that runs for every frame.
        """
        self._device = compute.device
        self._compiler = compiler
        self._meter = meter or DeviceMeter()
        self._appearance = networks.appearance.to(compute.device)
        self._motion = networks.motion.to(compute.device)
        self.frame_network = optimised(networks.warping, networks.decoder, dtype=compute.dtype, device=compute.device)
        frames: FrameFunction = self.frame_network
        self._draw = frames if compiler is None else compiler.compiled(frames)
        self.batches = Batches(NAME, compute.batch_frames, self._meter)

    @property
    def compiled(self) -> bool:
        """Whether the network of the frames runs compiled."""
        return self._compiler is not None and self._compiler.active

    def warm_up(self) -> None:
        """A portrait of nothing and a batch of it, so that the first request does not pay for lazy initialisation."""
        warming = nullcontext() if self._compiler is None else self._compiler.warming()
        # Compiled code is bound to tensors of this mode: those made outside would be of another kind.
        with torch.inference_mode(), warming:
            picture = torch.zeros(1, 3, INPUT_PX, INPUT_PX, device=self._device)
            keypoints = torch.zeros(self.batches.frames, KEYPOINT_COUNT, 3, device=self._device)

            def first_frame() -> SourceVolume:
                self._motion(picture)
                source = self.frame_network.prepare(self._appearance(picture), keypoints[:1])
                self._draw(source, keypoints[:1])
                return source

            self._meter.measure_frame(first_frame)
            source = first_frame()
            for _ in self.batches.run(len(keypoints), lambda part: self._draw(source, keypoints[part])):
                pass

    @torch.inference_mode()
    def motion(self, picture: FloatArray) -> dict[str, FloatArray]:
        """What the motion extractor says of a picture.

        Args: picture: float32 (1, 3, 256, 256), RGB in [0, 1].
        Raises: ResourceExhausted: the device has no memory for it.
        """
        raw = with_memory(lambda: self._motion(torch.from_numpy(picture).to(self._device)))
        return {key: np.asarray(value.float().cpu().numpy(), np.float32) for key, value in raw.items()}

    @torch.inference_mode()
    def source(self, picture: FloatArray, x_s: FloatArray) -> SourceVolume:
        """Everything that depends on the portrait only; it stays on the device.

        Args: picture: As for `motion`. x_s: float32 (1, 21, 3), the portrait's keypoints.
        Raises: ResourceExhausted: the device has no memory for it.
        """

        def prepared() -> SourceVolume:
            features = self._appearance(torch.from_numpy(picture).to(self._device))
            return self.frame_network.prepare(features, torch.from_numpy(x_s).to(self._device))

        return with_memory(prepared)

    def pictures(self, source: SourceVolume, x_d: FloatArray) -> Iterator[ImageArray]:
        """Draw a portrait in order, some frames at a time.

        Args: x_d: float32 (N, 21, 3), the keypoints of every frame.
        Yields: uint8 (n, 512, 512, 3), BGR; the n add up to N.
        Raises: ResourceExhausted: the device has no memory for a single frame.
        """
        return self.batches.run(len(x_d), lambda part: self._pictures(source, x_d[part]))

    @torch.inference_mode()
    def _pictures(self, source: SourceVolume, x_d: FloatArray) -> ImageArray:
        """Values are truncated, as in the original."""
        pictures = self._draw(source, torch.from_numpy(x_d).to(self._device))
        pictures = (pictures.clamp(0, 1) * 255).to(torch.uint8).flip(1)
        return np.asarray(pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy(), np.uint8)
