"""Fast inference with the generator: folded, channels last, in the precision that the device is good at.

Half precision is applied where it pays: the decoder has 90 % of the arithmetic. On a CPU both encoders stay float32,
because bfloat16 keeps 8 bits and its rounding in the first layers is amplified by all that follow (38 dB against 47
dB, measured on the goldens). float16 keeps 11 bits and serves the whole network on a GPU (56 dB).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from visema_kit.device_meter import DeviceMeter
from visema_kit.torch_compile import NetworkCompiler
from visema_kit.torch_device import Batches, cpu_has_bfloat16

from visema_wav2lip.chunks import WINDOW_COLUMNS
from visema_wav2lip.masking import FACE_PX, with_hidden_half
from visema_wav2lip.mel import MEL_BANDS, SILENCE
from visema_wav2lip.model.folding import fold_batch_norms
from visema_wav2lip.model.wav2lip import Wav2Lip

Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]

NAME = "wav2lip"
GPU_BATCH = 64  # 64 pictures fill a large GPU; they need about 0.3 GB in float16
CPU_BATCH = 13  # a second of video in two batches; larger ones gain nothing


@dataclass(frozen=True, slots=True)
class Precision:
    """Arithmetic of the two halves of the network.

    Attributes:
        name: For people and object keys.
        encoders: Type of both encoders.
        decoder: Type of the decoder and the output block.
    """

    name: str
    encoders: torch.dtype
    decoder: torch.dtype


FLOAT32 = Precision("fp32", torch.float32, torch.float32)
BFLOAT16 = Precision("bf16", torch.float32, torch.bfloat16)
FLOAT16 = Precision("fp16", torch.float16, torch.float16)
PRECISIONS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16}


class FaceGenerator(Protocol):
    """Speech and faces in, faces that say it out; the backends are interchangeable."""

    @property
    def description(self) -> str:
        """Backend, device and precision in a few words, stable: part of object keys."""
        ...

    def batches(self, windows: Floats, crops: Pictures, mouth_strength: float) -> Iterator[Floats]:
        """Generate in order, some frames at a time.

        Args:
            windows: float32 (N, 80, 16), log-mel in [-4, 4].
            crops: uint8 (N, 96, 96, 3), B, G, R.
            mouth_strength: 1 as trained; 0 as in silence; between and above: a straight line through both.
        Yields: float32 (n, 96, 96, 3), B, G, R in [0, 1]; the n add up to N.
        Raises: ResourceExhausted: not even one frame fits into the device's memory.
        """
        ...


def best_precision(device: torch.device) -> Precision:
    """float16 on a GPU; bfloat16 on a CPU that multiplies it in hardware; float32 on others."""
    if device.type == "cuda":
        return FLOAT16
    return BFLOAT16 if cpu_has_bfloat16() else FLOAT32


def distinct_pictures(pictures: Pictures) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Drop repeated pictures: a still portrait or a paused video needs its face encoded once.

    Args: pictures: uint8 (N, ...).
    Returns: uint8 (M, ...), M <= N, in order of first appearance; int64 (N,), which of them each picture is.
    """
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(picture.tobytes(), len(seen)) for picture in pictures], np.int64)
    first = np.unique(which, return_index=True)[1]
    return pictures[first], which


class TorchGenerator:
    """The generator on torch.

    Args:
        network: With its weights loaded; is not changed.
        device: Where to compute.
        precision: `best_precision(device)`, or another for comparison.
        batch_size: Most frames at a time, while memory allows.
        meter: Learns of each batch.
        compiler: Compiles the parts of the network; its owner warms up.
    """

    def __init__(  # noqa: PLR0917  as the other backend's, and how to compile
        self,
        network: Wav2Lip,
        device: torch.device,
        precision: Precision,
        batch_size: int,
        meter: DeviceMeter | None = None,
        compiler: NetworkCompiler | None = None,
    ) -> None:
        folded = fold_batch_norms(network).eval().requires_grad_(requires_grad=False)
        folded = folded.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        folded.face_encoder_blocks.to(precision.encoders)
        folded.audio_encoder.to(precision.encoders)
        folded.face_decoder_blocks.to(precision.decoder)
        folded.output_block.to(precision.decoder)
        self._network = folded
        self._face_encoder, self._audio_encoder = folded.encode_face, folded.encode_audio
        self._decoder = folded.decode
        self._device = device
        self._precision = precision
        self._batches = Batches(NAME, batch_size, meter)
        with torch.inference_mode():
            self._silence = self._encode_audio(np.full((1, MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32))
        self._compiler = compiler
        if compiler is not None:
            self._face_encoder = compiler.compiled(folded.encode_face)
            self._audio_encoder = compiler.compiled(folded.encode_audio)
            self._decoder = compiler.compiled(folded.decode)

    @property
    def description(self) -> str:
        """E.g. `torch cpu bf16`."""
        compiled = " compiled" if self._compiler is not None and self._compiler.active else ""
        return f"torch {self._device.type} {self._precision.name}{compiled}"

    def batches(self, windows: Floats, crops: Pictures, mouth_strength: float) -> Iterator[Floats]:
        """See `FaceGenerator.batches`."""
        return self._batches.run(len(windows), lambda part: self._generate(windows[part], crops[part], mouth_strength))

    @torch.inference_mode()
    def _generate(self, windows: Floats, crops: Pictures, mouth_strength: float) -> Floats:
        distinct, which = distinct_pictures(crops)
        features = self._encode_faces(distinct)
        if len(distinct) < len(crops):
            rows = torch.from_numpy(which).to(self._device)
            features = [feature[rows] for feature in features]
        embedding = self._encode_audio(windows)
        if mouth_strength != 1:
            # The encoder ends in ReLU: an exaggeration must not leave its range.
            embedding = (self._silence + mouth_strength * (embedding - self._silence)).clamp_(min=0)
        decoder = self._precision.decoder
        faces = self._decoder(embedding.to(decoder), [feature.to(decoder) for feature in features])
        pictures: Floats = faces.permute(0, 2, 3, 1).float().cpu().numpy()  # (N, 96, 96, 3)
        return pictures

    def _encode_faces(self, crops: Pictures) -> list[torch.Tensor]:
        """uint8 (N, 96, 96, 3) -> `Wav2Lip.encode_face`'s features."""
        pictures = torch.from_numpy(with_hidden_half(crops)).to(self._device)
        # NHWC memory seen as NCHW is what channels_last means: no copy.
        features: list[torch.Tensor] = self._face_encoder(
            (pictures.to(self._precision.encoders) / 255).permute(0, 3, 1, 2)
        )
        return features

    def _encode_audio(self, windows: Floats) -> torch.Tensor:
        """float32 (N, 80, 16) -> (N, 512, 1, 1)."""
        mel = torch.from_numpy(windows).to(self._device, self._precision.encoders)
        embedding: torch.Tensor = self._audio_encoder(mel[:, None])
        return embedding


def warm_up(generator: FaceGenerator, frame_count: int) -> None:
    """Run once on silence and grey faces, so that the first job does not pay for kernel choice and memory pools."""
    windows = np.full((frame_count, MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
    # Distinct pictures, because repeated ones would be encoded only once.
    levels = np.arange(frame_count, dtype=np.uint8)[:, None, None, None]
    crops = np.broadcast_to(levels, (frame_count, FACE_PX, FACE_PX, 3)).copy()
    for _ in generator.batches(windows, crops, 1.0):
        pass
