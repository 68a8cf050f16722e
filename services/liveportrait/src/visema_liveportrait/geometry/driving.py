"""Animating a portrait by the motion of another face (the original's ten or so settings, in one place).

The canonical keypoints are always the source's; only pose, expression, scale and translation come from the driving
face.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from visema_liveportrait.geometry import FloatArray
from visema_liveportrait.geometry.keypoints import KEYPOINT_COUNT, Motion, transform_keypoints
from visema_liveportrait.geometry.retargeting import Perceptron, lip_normalisation, openness_offsets, stitch

LIP_KEYPOINTS = (6, 12, 14, 17, 19, 20)
EYE_KEYPOINTS = (11, 13, 15, 16, 18)


class Region(enum.Enum):
    """Which part of the driving motion is used; the rest stays the source's."""

    ALL = "all"
    POSE = "pose"
    EXPRESSION = "exp"
    LIPS = "lip"
    EYES = "eyes"


def _absolute_entries() -> FloatArray:
    """Entries of the expression that absolute driving takes over: (21, 3), 0 or 1; the others carry identity."""
    entries = np.zeros((KEYPOINT_COUNT, 3), np.float32)
    entries[[1, 2, 6, *range(11, 21)]] = 1
    entries[[3, 4], 1] = 1  # y
    entries[[5, 8, 9], 2] = 1  # z
    entries[9, 1] = 1
    return entries


def _region_entries(region: Region, *, relative: bool) -> FloatArray:
    """Entries of the expression that `region` drives: (21, 3), 0 or 1."""
    if region in (Region.ALL, Region.EXPRESSION):
        return np.ones((KEYPOINT_COUNT, 3), np.float32) if relative else _absolute_entries()
    entries = np.zeros((KEYPOINT_COUNT, 3), np.float32)
    if region is Region.LIPS:
        entries[list(LIP_KEYPOINTS)] = 1
    elif region is Region.EYES:
        entries[list(EYE_KEYPOINTS)] = 1
    return entries


def drive_motion(source: Motion, driving: Motion, *, region: Region, relative: bool) -> Motion:
    """The source's motion with the driving face's in it.

    Args:
        source: Length 1.
        driving: Length N; in relative mode its first frame is the pose of rest.

    Returns: Length N; t has z = 0.
    """
    count = len(driving)
    entries = _region_entries(region, relative=relative)
    poses = region in (Region.ALL, Region.POSE)
    rotation = np.repeat(source.rotation, count, axis=0)
    t = np.repeat(source.t, count, axis=0)
    scale = np.repeat(source.scale, count, axis=0)
    if relative:
        exp = source.exp + entries * (driving.exp - driving.exp[:1])
        if poses:
            rotation = np.asarray(
                driving.rotation @ driving.rotation[:1].transpose(0, 2, 1) @ source.rotation, np.float32
            )
            t = np.asarray(source.t + driving.t - driving.t[:1], np.float32)
        if region is Region.ALL:
            scale = np.asarray(source.scale * driving.scale / driving.scale[:1], np.float32)
    else:
        exp = source.exp * (1 - entries) + driving.exp * entries
        if poses:
            rotation, t = driving.rotation, driving.t.copy()
    t[:, 2] = 0
    return Motion(rotation, exp.astype(np.float32), t, scale)


def hull_volume(keypoints: FloatArray) -> float:
    """Volume of the convex hull of (21, 3) points."""
    from scipy.spatial import ConvexHull  # noqa: PLC0415 - only this option needs scipy

    return float(ConvexHull(keypoints).volume)


def expression_friendly(x_s: FloatArray, x_d: FloatArray) -> FloatArray:
    """Movements of a large driving face scaled to a small source face, or the other way round.

    Args:
        x_s: (1, 21, 3).
        x_d: (N, 21, 3); frame 0 is the pose of rest.

    Returns: (N, 21, 3).
    """
    ratio = np.sqrt(hull_volume(x_s[0])) / np.sqrt(hull_volume(x_d[0]))
    return (x_s + np.float32(ratio) * (x_d - x_d[:1])).astype(np.float32)


@dataclass(frozen=True, slots=True)
class DrivingOptions:
    """How a portrait follows a driving video; the defaults are those of the original's command line.

    Attributes:
        multiplier: Factor on all motion away from the source's keypoints. eye_retargeting, lip_retargeting: Match the
            openness of eyes or lips instead of the expression. With `relative` the original then discards the rest of
            the driving motion, and so does this function.
    """

    relative: bool = True
    region: Region = Region.ALL
    expression_friendly: bool = True
    stitching: bool = True
    normalise_lips: bool = False
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class Networks:
    """The three perceptrons as functions on float32 rows."""

    stitching: Perceptron
    eyes: Perceptron
    lips: Perceptron


@dataclass(frozen=True, slots=True)
class Openness:
    """How far eyes and lips are open: `eyes` (N, 2) left and right, `lips` (N, 1). See `ratios`."""

    eyes: FloatArray
    lips: FloatArray


def drive_keypoints(
    kp: FloatArray,
    source: Motion,
    driving: Motion,
    *,
    source_openness: Openness,
    driving_openness: Openness,
    options: DrivingOptions,
    networks: Networks,
) -> FloatArray:
    """The keypoints that are handed to the warping network.

    Args:
        kp: (1, 21, 3), the source's canonical keypoints.
        driving: Length N.

    Returns: (N, 21, 3).
    """
    x_s = transform_keypoints(kp, source)
    x_d = transform_keypoints(kp, drive_motion(source, driving, region=options.region, relative=options.relative))
    if options.relative and options.expression_friendly:
        x_d = expression_friendly(x_s, x_d)
    if options.eye_retargeting or options.lip_retargeting:
        if options.relative:
            x_d = np.repeat(x_s, len(driving), axis=0)
        if options.eye_retargeting:  # the wanted openness is that of the driving left eye, for both eyes
            target = driving_openness.eyes[:, 0]
            x_d = x_d + openness_offsets(networks.eyes, x_s, source_openness.eyes, target)
        if options.lip_retargeting:
            target = driving_openness.lips[:, 0]
            x_d = x_d + openness_offsets(networks.lips, x_s, source_openness.lips, target)
        if options.stitching:
            x_d = stitch(networks.stitching, x_s, x_d)
    else:
        if options.stitching:
            x_d = stitch(networks.stitching, x_s, x_d)
        if options.relative and options.normalise_lips:
            closed = lip_normalisation(networks.lips, x_s, source_openness.lips)
            x_d = x_d if closed is None else x_d + closed
    return (x_s + (x_d - x_s) * np.float32(options.multiplier)).astype(np.float32)
