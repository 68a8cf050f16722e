"""A voice of the Piper format of a few hundred bytes: every phoneme is a tone of its own.

It has the inputs and the output of the real ones, so everything around the network is the same. The ONNX file is
written byte by byte (protobuf's wire format, field numbers from onnx.proto), which saves the tests the package `onnx`.
"""

from __future__ import annotations

import json
import struct
import wave
from collections.abc import Sequence
from pathlib import Path

RATE_HZ = 16_000
PHONEME_SAMPLES = 800  # at length scale 1; every second id is padding and as long
_FLOAT, _INT64 = 1, 7
_PHONEMES = "_^$ !',-.:;?abdefhijklmnoprstuvwxzæçðŋɐɑɒɔəɚɛɜɡɪɫɹɾʃʊʌʒʔˈˌːθᵻабвгд"


def write_voice(
    folder: Path, name: str = "en_US-tones-low", *, speakers: Sequence[str] = (), **changes: object
) -> Path:
    """Write `NAME.onnx` and its description. Args: changes: of the description. Returns: the path of the network."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "audio": {"sample_rate": RATE_HZ, "quality": "low"},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": {phoneme: [number] for number, phoneme in enumerate(_PHONEMES)},
        "num_symbols": 256,
        "num_speakers": max(len(speakers), 1),
        "speaker_id_map": {speaker: number for number, speaker in enumerate(speakers)},
        "language": {"code": "en_US"},
    }
    network = folder / f"{name}.onnx"
    network.write_bytes(_model(takes_speaker=bool(speakers)))
    Path(f"{network}.json").write_text(json.dumps(description | changes), encoding="utf-8")
    return network


def write_recording(path: Path, seconds: float, sample_bytes: int = 2) -> Path:
    """Write a WAV file of silence."""
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(sample_bytes)
        recording.setframerate(RATE_HZ)
        recording.writeframes(bytes(round(seconds * RATE_HZ) * sample_bytes))
    return path


def _model(*, takes_speaker: bool) -> bytes:
    """sin(2π (100 + 5 id + 200 speaker) t), each phoneme PHONEME_SAMPLES · length scale long."""
    nodes = [
        _node("Cast", ["input"], "ids", _integer_attribute("to", _FLOAT)),
        _node("Mul", ["ids", "hertz_per_id"], "above"),
        _node("Add", ["above", "lowest_hertz"], "hertz"),  # (1, T)
        _node("Gather", ["scales", "one"], "length_scale"),
        _node("Mul", ["length_scale", "phoneme_samples"], "count"),
        _node("Range", ["nought", "count", "step"], "sample_numbers"),  # (n)
        _node("Mul", ["sample_numbers", "radians_per_sample"], "radians"),
        _node("Unsqueeze", ["voiced_hertz", "last_axis"], "column"),  # (1, T, 1)
        _node("Mul", ["column", "radians"], "phases"),  # (1, T, n)
        _node("Sin", ["phases"], "tones"),
        _node("Mul", ["tones", "level"], "quiet_tones"),
        _node("Reshape", ["quiet_tones", "flat"], "output"),  # (1, 1, 1, T n)
    ]
    speaker_nodes = [
        _node("Cast", ["sid"], "speaker", _integer_attribute("to", _FLOAT)),
        _node("Mul", ["speaker", "hertz_per_speaker"], "higher"),
        _node("Add", ["hertz", "higher"], "voiced_hertz"),
    ]
    alike = [_node("Identity", ["hertz"], "voiced_hertz")]
    nodes[3:3] = speaker_nodes if takes_speaker else alike
    constants = [
        _floats("hertz_per_id", 5),
        _floats("lowest_hertz", 100),
        _floats("hertz_per_speaker", 200),
        _floats("phoneme_samples", PHONEME_SAMPLES),
        _floats("nought", 0),
        _floats("step", 1),
        _floats("radians_per_sample", 2 * 3.141592653589793 / RATE_HZ),
        _floats("level", 0.4),
        _integers("one", 1, is_scalar=True),
        _integers("last_axis", 2),
        _integers("flat", 1, 1, 1, -1),
    ]
    inputs = [_value("input", _INT64, "b", "t"), _value("input_lengths", _INT64, "b"), _value("scales", _FLOAT, 3)]
    inputs += [_value("sid", _INT64, "b")] if takes_speaker else []
    graph = [
        *(_field(1, node) for node in nodes),
        _field(2, b"tones"),
        *(_field(5, constant) for constant in constants),
        *(_field(11, given) for given in inputs),
        _field(12, _value("output", _FLOAT, "b", 1, 1, "n")),
    ]
    opset = _field(1, b"") + _field(2, 15)
    return _field(1, 8) + _field(7, b"".join(graph)) + _field(8, opset)


def _field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])


def _node(operator: str, inputs: Sequence[str], output: str, attribute: bytes = b"") -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    return names + _field(4, operator.encode()) + (_field(5, attribute) if attribute else b"")


def _integer_attribute(name: str, value: int) -> bytes:
    return _field(1, name.encode()) + _field(3, value) + _field(20, 2)


def _floats(name: str, value: float) -> bytes:
    """A scalar."""
    return _field(2, _FLOAT) + _field(8, name.encode()) + _field(9, struct.pack("<f", value))


def _integers(name: str, *values: int, is_scalar: bool = False) -> bytes:
    shape = b"" if is_scalar else _field(1, len(values))
    return shape + _field(2, _INT64) + _field(8, name.encode()) + _field(9, struct.pack(f"<{len(values)}q", *values))


def _value(name: str, kind: int, *shape: int | str) -> bytes:
    sizes = (_field(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in shape)
    dimensions = b"".join(_field(1, size) for size in sizes)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, dimensions)))
