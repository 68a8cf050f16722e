"""Colours of the mouth's interior, taken from the portrait so that they sit in its light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from visema_wav2lip.engines.embedded.geometry import CHEEKS, EYE_OUTLINES, FaceFrame, Floats

LUMA = np.array([0.114, 0.587, 0.299])  # BGR, BT.601
_LIP_CLOSED = (14, 17, 15, 16, 84, 314)
_LIP_PARTED = (17, 84, 314)  # below the opening
_DEFAULT_SCLERA = np.array([205.0, 222.0, 232.0])  # warm white
_MIN_EYE_PIXELS = 20
_SKIN_CHROMA_SHARE = 0.55  # of the tooth's tint; the rest is the sclera's, the nearest thing to white in the picture
_TOOTH_TO_SKIN = 0.92  # luminance
_COLOURLESS_SKIN = 0.12  # (max - min) / max of BGR; skin in colour has 0.25 and more
_LONGEST_BLUE = 0.95  # of red: teeth are never bluer than ivory


@dataclass(frozen=True, slots=True)
class Palette:
    """BGR colours 0..255, float32 (3,); `skin_luma` and the blur of the picture beside them.

    Attributes:
        softness_px: Sigma of the blur that the picture's own edges show; drawn edges get the same.
    """

    skin: Floats
    lip: Floats
    tooth: Floats
    cavity: Floats
    tongue: Floats
    skin_luma: float
    softness_px: float


def take_palette(picture: npt.NDArray[np.uint8], face: FaceFrame, *, parted: bool) -> Palette:
    """Measure the portrait's colours around the mouth, on the cheeks and in the eyes."""
    pixels = picture.astype(np.float32)
    radius = max(1, round(face.height_px / 70))
    skin = _median_around(pixels, face.stack(CHEEKS), radius)
    lip = _median_around(pixels, face.stack(_LIP_PARTED if parted else _LIP_CLOSED), max(1, radius // 2))
    skin_luma = max(float(skin @ LUMA), 8.0)
    sclera = _sclera(pixels, face)
    tint = _SKIN_CHROMA_SHARE * _unit_luma((skin / skin_luma) ** 0.7) + (1 - _SKIN_CHROMA_SHARE) * _unit_luma(sclera)
    tint = _unit_luma(tint)
    tint[0] = min(tint[0], tint[2] * _LONGEST_BLUE)
    tooth = np.clip(tint * np.clip(_TOOTH_TO_SKIN * skin_luma + 6, 35, 215), 0, 245)
    cavity = np.clip(skin_luma * np.array([0.042, 0.050, 0.125]) + 0.04 * lip + 1, 0, 60)
    tongue = np.clip(0.34 * lip + skin_luma * np.array([0.17, 0.17, 0.36]), 0, 190)
    colourful = float(np.clip((skin.max() - skin.min()) / max(skin.max(), 1.0) / _COLOURLESS_SKIN, 0, 1))
    cavity, tongue, tooth = (_faded(colour, colourful) for colour in (cavity, tongue, tooth))
    return Palette(
        skin=skin.astype(np.float32),
        lip=lip.astype(np.float32),
        tooth=tooth.astype(np.float32),
        cavity=cavity.astype(np.float32),
        tongue=tongue.astype(np.float32),
        skin_luma=skin_luma,
        softness_px=_softness(picture, face),
    )


def _faded(colour: npt.NDArray[np.floating], share: float) -> npt.NDArray[np.float64]:
    """The colour with that share of its chroma: a black-and-white portrait has a grey tongue."""
    grey = float(colour @ LUMA)
    return np.asarray(grey + share * (colour - grey), np.float64)


def _unit_luma(colour: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(colour / max(float(colour @ LUMA), 1e-3), np.float64)


def _median_around(pixels: Floats, points: npt.NDArray[np.float64], radius: int) -> npt.NDArray[np.float64]:
    """Median colour of square windows around the points; mid-brown when none lies in the picture."""
    windows = [
        pixels[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].reshape(-1, 3)
        for x, y in points.round().astype(int).tolist()
        if x >= 0 and y >= 0
    ]
    samples = np.concatenate(windows) if windows else np.empty((0, 3), np.float32)
    return np.median(samples, axis=0).astype(np.float64) if len(samples) else np.array([90.0, 110.0, 150.0])


def _sclera(pixels: Floats, face: FaceFrame) -> npt.NDArray[np.float64]:
    """Mean of the brightest pixels inside the eyes."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for outline in EYE_OUTLINES:
        points = face.stack(outline)
        if len(points) == len(outline):
            cv2.fillPoly(mask, [points.round().astype(np.int32)], 255)
    inside = pixels[mask > 0]
    if len(inside) < _MIN_EYE_PIXELS:
        return _DEFAULT_SCLERA
    brightness = inside.mean(axis=1)
    return np.asarray(inside[brightness >= np.percentile(brightness, 85)].mean(axis=0), np.float64)


def _softness(picture: npt.NDArray[np.uint8], face: FaceFrame) -> float:
    """Sigma in pixels of the face's sharpest edges: an edge of contrast c and sigma s has slope 0.4 c / s."""
    corners = face.stack((33, 263, 152, 10))
    left, top = np.maximum(corners.min(axis=0).astype(int), 0)
    right, bottom = corners.max(axis=0).astype(int) + 1
    grey = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_BGR2GRAY).astype(np.float32)
    if min(grey.shape) < 16:  # noqa: PLR2004 - too small to tell
        return 0.8
    slope = np.hypot(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)) / 32
    window = np.ones((9, 9), np.uint8)
    contrast = cv2.dilate(grey, window) - cv2.erode(grey, window)
    strong = contrast > np.percentile(contrast, 90)
    return float(
        np.clip(0.4 * np.median(contrast[strong] / np.maximum(cv2.dilate(slope, window)[strong], 0.1)), 0.6, 2.2)
    )
