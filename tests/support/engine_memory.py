"""Both neural engines as a GPU gets them by default, with every tensor on the device accounted. Needs torch and numpy.

Each service is a process with an allocator of its own on a card that they may share. On a machine with a GPU they can
run there; else on torch's `meta` device, which has the shapes and number formats only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from support.cuda_allocator import MEBIBYTE, CachingAllocator, Card
from support.tensor_meter import TensorMeter, read_as_cuda
from visema_kit.device_meter import DeviceMeter
from visema_kit.torch_device import watch_memory
from visema_liveportrait import model
from visema_liveportrait.engines.neural_device import CUDA_BATCH, ComputeDevice
from visema_liveportrait.engines.neural_networks import INPUT_PX, DeviceNetworks
from visema_liveportrait.engines.neural_weights import LivePortraitNetworks
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT
from visema_liveportrait.model.fast import SourceVolume
from visema_wav2lip.chunks import WINDOW_COLUMNS
from visema_wav2lip.engines import neural_generator as lips
from visema_wav2lip.masking import FACE_PX
from visema_wav2lip.mel import MEL_BANDS
from visema_wav2lip.model.wav2lip import Wav2Lip

CUDA = torch.device("cuda", 0)
META = torch.device("meta")
PREPARED_BYTES = 512 * MEBIBYTE  # default of VISEMA_PREPARED_CACHE_MIB
STREAMS = 4  # default of VISEMA_MAX_STREAMS: portraits in use that the cache may have forgotten


class MetaGpu(ComputeDevice):
    """A GPU's number format and batch without a GPU."""

    @property
    def batch_frames(self) -> int:
        return CUDA_BATCH


def portrait_networks() -> LivePortraitNetworks:
    """The official networks with random weights; an engine changes them, so each needs its own."""
    classes = (
        model.AppearanceFeatureExtractor,
        model.MotionExtractor,
        model.WarpingNetwork,
        model.SPADEDecoder,
        model.StitchingNetwork,
        model.EyeRetargetingNetwork,
        model.LipRetargetingNetwork,
    )
    return LivePortraitNetworks(*(each().eval().requires_grad_(requires_grad=False) for each in classes), sha256="")


class Process:
    """A service's process, as far as a card can tell.

    Attributes:
        allocator: What it took.
        meter: Of its engine; knows what one frame needs once the engine has started.
        compute: Where and how it computes.
    """

    def __init__(self, card: Card, device: torch.device = META, limit_mib: int = 0, *, copies: bool = False) -> None:
        """Take nothing yet. Args: limit_mib: `VISEMA_DEVICE_MEMORY_MIB`. copies: See `TensorMeter`."""
        self.allocator = CachingAllocator(card)
        self.meter = DeviceMeter()
        self.compute = (MetaGpu if device.type == "meta" else ComputeDevice)(device, torch.float16)
        self._tensors = TensorMeter(self.allocator, device.type, copies=copies)
        with self.running():
            watch_memory(self.meter, CUDA, limit_mib)

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is computed here is this process's."""
        with ExitStack() as stack:
            if self.compute.device.type == "meta":
                stack.enter_context(read_as_cuda(self.allocator))
            stack.enter_context(self._tensors)
            yield

    @property
    def needed_bytes(self) -> int:
        """What a call is let in for."""
        return self.meter.frame_bytes

    def has_room(self) -> None:
        """Raises: DeviceBusy: a call would be refused."""
        with self.running():
            self.meter.check_room()


class PortraitProcess(Process):
    """Stage 1. Attributes: networks: since `start`."""

    networks: DeviceNetworks

    def start(self, networks: LivePortraitNetworks) -> None:
        """Load and warm up."""
        with self.running():
            self.networks = DeviceNetworks(networks, self.compute, self.meter)
            self.networks.warm_up()

    def prepare(self) -> SourceVolume:
        """A portrait that stays prepared until it is let go."""
        picture = np.zeros((1, 3, INPUT_PX, INPUT_PX), np.float32)
        with self.running():
            self.networks.motion(picture)
            return self.networks.source(picture, np.zeros((1, KEYPOINT_COUNT, 3), np.float32))

    def like(self, source: SourceVolume) -> SourceVolume:
        """Another prepared portrait."""
        parts = (source.feature_3d, source.kp_source, source.thin, source.unmoved, source.heat)
        with self.running():
            return SourceVolume(*(part.clone() for part in parts))

    def render(self, source: SourceVolume, frame_count: int) -> list[int]:
        """A piece of an animation. Returns: frames of each batch."""
        with self.running():
            keypoints = np.zeros((frame_count, KEYPOINT_COUNT, 3), np.float32)
            return [len(pictures) for pictures in self.networks.pictures(source, keypoints)]


class LipProcess(Process):
    """Stage 2. Faces of foreign videos are found on the CPU: nothing of that is here."""

    def start(self, network: Wav2Lip) -> None:
        """Load and warm up, as `visema_wav2lip.engines.neural.build_engine`."""
        with self.running():
            self.generator = lips.TorchGenerator(network, self.compute.device, lips.FLOAT16, lips.GPU_BATCH, self.meter)
            self.meter.measure_frame(lambda: lips.warm_up(self.generator, 1))
            lips.warm_up(self.generator, lips.GPU_BATCH)

    def speak(self, frame_count: int) -> list[int]:
        """Some frames of a clip, all different. Returns: frames of each batch."""
        windows = np.zeros((frame_count, MEL_BANDS, WINDOW_COLUMNS), np.float32)
        crops = np.zeros((frame_count, FACE_PX, FACE_PX, 3), np.uint8)
        crops[:, 0, 0, 0], crops[:, 0, 0, 1] = np.arange(frame_count) % 256, np.arange(frame_count) // 256
        with self.running():
            return [len(faces) for faces in self.generator.batches(windows, crops, 1.0)]
