"""The neural lip-sync engine: Wav2Lip behind `LipSyncEngine`."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import torch
from visema_kit.checkpoints import WAV2LIP, check_license
from visema_kit.checkpoints_store import CheckpointFolder
from visema_kit.device_meter import DeviceMeter
from visema_kit.engines import EngineDescription
from visema_kit.torch_compile import NetworkCompiler
from visema_kit.torch_device import choose_device, watch_memory
from visema_media.track import FaceTrack

from visema_wav2lip.engines.neural_generator import (
    CPU_BATCH,
    FLOAT16,
    GPU_BATCH,
    NAME,
    PRECISIONS,
    FaceGenerator,
    Precision,
    TorchGenerator,
    best_precision,
    warm_up,
)
from visema_wav2lip.engines.neural_session import NeuralSession
from visema_wav2lip.engines.protocol import USUAL_PIXELS, Frame, LipSyncEngine, LipSyncSettings, Samples
from visema_wav2lip.mel import gate_silence, log_mel
from visema_wav2lip.model.wav2lip import Wav2Lip

VERSION = "2"  # of this engine's code and constants; raise it when pixels change
WEIGHTS = "wav2lip/generator"  # in the checkpoint folder
_PASTED_PIXELS = 64 * USUAL_PIXELS  # in a call

PrecisionName = Literal["auto", "float32", "float16", "bfloat16"]
Backend = Literal["auto", "torch", "openvino"]


@dataclass(frozen=True, slots=True)
class NeuralOptions:
    """How the engine computes.

    Attributes:
        device: `auto` takes the first GPU, else the CPU; or any name that torch knows.
        precision: `auto` takes the fastest that the device computes in hardware.
        backend: `auto` takes OpenVINO where the extra is installed, else torch; torch serves GPUs and float16.
        batch_size: Most frames at a time; 0 takes the device's default.
        silence_gate_db: Sound this far below the speech is taken as silence; None leaves the audio as it is.
        torch_compile: Run torch through its compiler.
        memory_mib: Most memory of a GPU; 0: all that is free.
    """

    device: str = "auto"
    precision: PrecisionName = "auto"
    backend: Backend = "auto"
    batch_size: int = 0
    silence_gate_db: float | None = None
    torch_compile: bool = False
    memory_mib: int = 0


class NeuralEngine:
    """A `LipSyncEngine`. Called from one device thread only."""

    def __init__(
        self,
        generator: FaceGenerator,
        weights_sha256: str,
        device: torch.device,
        options: NeuralOptions,
        meter: DeviceMeter | None = None,
    ) -> None:
        self._generator = generator
        self._meter = meter or DeviceMeter()
        self._weights_sha256 = weights_sha256
        self._device = device
        self._options = options

    def describe(self) -> EngineDescription:
        """Who computes. Backend and precision are part of the version: they move single counts of the result."""
        gate = "" if self._options.silence_gate_db is None else f" gate {self._options.silence_gate_db:g}"
        return EngineDescription(
            name=NAME,
            version=f"{VERSION} {self._generator.description}{gate}",
            model_license=WAV2LIP.license_name,
            weights_sha256=self._weights_sha256,
            device=device_name(self._device),
            capabilities=("foreign-video", "any-size"),
        )

    def frames_per_call(self, frame_pixels: int) -> int:
        """A batch; less of very large frames, which take longer to paste into than to compute."""
        return max(1, min(batch_size(self._options, self._device), _PASTED_PIXELS // frame_pixels))

    @property
    def crosses_segments(self) -> bool:
        """A full batch costs less per frame."""
        return True

    def check_room(self) -> None:
        """Raises: DeviceBusy: there is no memory for a frame at the moment."""
        self._meter.check_room()

    def open(  # noqa: PLR0917  as in the protocol
        self,
        reference_frame: Frame,  # noqa: ARG002  the network takes each frame as its own reference
        reference_track_row: FaceTrack,  # noqa: ARG002
        audio: Samples,
        frame_rate: Fraction,
        frame_count: int,
        settings: LipSyncSettings,
    ) -> NeuralSession:
        """Begin a clip of `frame_count` frames.

        Args: audio: float32 (n,), the whole speech, 16 kHz.
        Raises: AudioTooShort: no samples.
        """
        mel = log_mel(audio)
        if self._options.silence_gate_db is not None:
            mel = gate_silence(mel, self._options.silence_gate_db)
        return NeuralSession(self._generator, mel, frame_rate, frame_count, settings.mouth_strength)


class NeuralSettings(Protocol):
    """What the engine reads of the service's settings."""

    @property
    def checkpoint_dir(self) -> Path | None:
        """Folder with the checkpoints."""
        ...

    @property
    def device(self) -> str:
        """As in `NeuralOptions`."""
        ...

    @property
    def precision(self) -> PrecisionName:
        """As in `NeuralOptions`."""
        ...

    @property
    def lipsync_backend(self) -> Backend:
        """As `NeuralOptions.backend`."""
        ...

    @property
    def silence_gate_db(self) -> float | None:
        """As in `NeuralOptions`."""
        ...

    @property
    def torch_compile(self) -> bool:
        """As in `NeuralOptions`."""
        ...

    @property
    def device_memory_mib(self) -> int:
        """As `NeuralOptions.memory_mib`."""
        ...

    def accepted_licenses(self) -> frozenset[str]:
        """Licences that the operator accepts."""
        ...


def load_neural_engine(settings: NeuralSettings, meter: DeviceMeter | None = None) -> LipSyncEngine:
    """The engine with the weights of the checkpoint folder, warmed up.

    Args: meter: Learns what the device does.
    Raises: LicenseNotAccepted: the operator has not accepted the weights' licence. CheckpointMissing: the weights are
        absent or wrong, or the device is not there.
    """
    check_license(WAV2LIP, settings.accepted_licenses())
    state, source = CheckpointFolder.at(settings.checkpoint_dir).load(WEIGHTS)
    network = Wav2Lip()
    network.load_state_dict(state, strict=True)
    options = NeuralOptions(
        device=settings.device,
        precision=settings.precision,
        backend=settings.lipsync_backend,
        silence_gate_db=settings.silence_gate_db,
        torch_compile=settings.torch_compile,
        memory_mib=settings.device_memory_mib,
    )
    return build_engine(network, source.sha256, options, meter)


def build_engine(
    network: Wav2Lip, weights_sha256: str, options: NeuralOptions, meter: DeviceMeter | None = None
) -> NeuralEngine:
    """Choose device, backend and precision, make the engine and warm it up.

    Args: network: With its weights loaded. weights_sha256: Of the file that they came from. meter: See
            `load_neural_engine`.
    """
    device = choose_device(options.device)
    meter = meter or DeviceMeter()
    watch_memory(meter, device, options.memory_mib)
    precision = best_precision(device) if options.precision == "auto" else PRECISIONS[options.precision]
    size = batch_size(options, device)
    if _takes_openvino(options, device, precision):
        from visema_wav2lip.engines.neural_openvino import OpenVinoGenerator  # noqa: PLC0415  optional extra

        generator: FaceGenerator = OpenVinoGenerator(network, precision, size, torch.get_num_threads(), meter)
        compiler = None
    else:
        compiler = NetworkCompiler(NAME, device, meter) if options.torch_compile else None
        generator = TorchGenerator(network, device, precision, size, meter, compiler)
    with nullcontext() if compiler is None else compiler.warming():
        meter.measure_frame(partial(warm_up, generator, 1))
        warm_up(generator, size)
    return NeuralEngine(generator, weights_sha256, device, options, meter)


def device_name(device: torch.device) -> str:
    """For people: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def batch_size(options: NeuralOptions, device: torch.device) -> int:
    """Most frames at a time."""
    return options.batch_size or (GPU_BATCH if device.type == "cuda" else CPU_BATCH)


def _takes_openvino(options: NeuralOptions, device: torch.device, precision: Precision) -> bool:
    """Whether OpenVINO computes: it cannot on a GPU nor in float16, and is no choice of `auto` beside the compiler."""
    if device.type != "cpu" or precision is FLOAT16:
        return False
    if options.backend == "auto":
        return not options.torch_compile and importlib.util.find_spec("openvino") is not None
    return options.backend == "openvino"
