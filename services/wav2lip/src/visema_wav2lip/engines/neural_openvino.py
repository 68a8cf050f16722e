"""The generator on OpenVINO: the optional CPU accelerator (extra `openvino`).

Both halves are converted from the folded torch network in memory; nothing is written to disk. The precisions are
those of the torch backend on a CPU: float32 encoders and, where the processor has it, a bfloat16 decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import openvino
import torch
from torch import nn
from visema_kit.device_meter import DeviceMeter
from visema_kit.torch_device import Batches

from visema_wav2lip.chunks import WINDOW_COLUMNS
from visema_wav2lip.engines.neural_generator import NAME, Precision, distinct_pictures
from visema_wav2lip.masking import FACE_PX, with_hidden_half
from visema_wav2lip.mel import MEL_BANDS, SILENCE
from visema_wav2lip.model.folding import fold_batch_norms
from visema_wav2lip.model.wav2lip import Wav2Lip

Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVinoGenerator:
    """The generator on OpenVINO's CPU plugin; a `FaceGenerator`.

    Args:
        network: With its weights loaded; is not changed.
        precision: Float32 or bfloat16 per half.
        batch_size: Most frames at a time.
        threads: Threads of the plugin; 0 takes all cores.
        meter: Learns of each batch.
    """

    def __init__(
        self,
        network: Wav2Lip,
        precision: Precision,
        batch_size: int,
        threads: int = 0,
        meter: DeviceMeter | None = None,
    ) -> None:
        folded = fold_batch_norms(network).eval().requires_grad_(requires_grad=False)
        mel = torch.zeros(2, 1, MEL_BANDS, WINDOW_COLUMNS)
        faces = torch.zeros(2, 6, FACE_PX, FACE_PX)
        with torch.no_grad():  # not inference mode: the tracer refuses its tensors
            features = tuple(folded.encode_face(faces))
            embedding = folded.encode_audio(mel)
        core = openvino.Core()

        def compiled(half: nn.Module, example: object, dtype: torch.dtype) -> openvino.CompiledModel:
            properties = {"INFERENCE_PRECISION_HINT": HINTS[dtype], "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            with torch.no_grad():
                model = openvino.convert_model(half, example_input=example)
            return core.compile_model(model, "CPU", properties)

        self._face_encoder = compiled(_FaceEncoder(folded), (faces,), precision.encoders)
        self._audio_encoder = compiled(folded.audio_encoder, (mel,), precision.encoders)
        self._decoder = compiled(_Decoder(folded), (embedding, *features), precision.decoder)
        self._precision = precision
        self._batches = Batches(NAME, batch_size, meter)
        self._silence = self._encode_audio(np.full((1, MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32))

    @property
    def description(self) -> str:
        """E.g. `openvino cpu bf16`."""
        return f"openvino cpu {self._precision.name}"

    def batches(self, windows: Floats, crops: Pictures, mouth_strength: float) -> Iterator[Floats]:
        """See `FaceGenerator.batches`."""
        return self._batches.run(len(windows), lambda part: self._generate(windows[part], crops[part], mouth_strength))

    def _generate(self, windows: Floats, crops: Pictures, mouth_strength: float) -> Floats:
        distinct, which = distinct_pictures(crops)
        features = self._encode_faces(distinct)
        if len(distinct) < len(which):
            features = [feature[which] for feature in features]
        embedding = self._encode_audio(windows)
        if mouth_strength != 1:
            embedding = np.maximum(self._silence + mouth_strength * (embedding - self._silence), 0)
        faces = self._decoder([embedding, *features])[0]
        return np.ascontiguousarray(faces.transpose(0, 2, 3, 1), np.float32)

    def _encode_faces(self, crops: Pictures) -> list[Floats]:
        pictures = with_hidden_half(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
        outputs = self._face_encoder([np.ascontiguousarray(pictures)])
        return [outputs[i] for i in range(len(self._face_encoder.outputs))]

    def _encode_audio(self, windows: Floats) -> Floats:
        embedding: Floats = self._audio_encoder([windows[:, None]])[0]
        return embedding


class _FaceEncoder(nn.Module):
    """`Wav2Lip.encode_face` as a module, for the converter."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: torch.Tensor) -> Sequence[torch.Tensor]:
        return tuple(self.network.encode_face(faces))


class _Decoder(nn.Module):
    """`Wav2Lip.decode` as a module, for the converter."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: torch.Tensor, *features: torch.Tensor) -> torch.Tensor:
        return self.network.decode(embedding, features)
