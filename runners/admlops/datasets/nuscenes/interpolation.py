"""Annotations of key frames at 2 Hz as annotations at 12 Hz, by ASAP's rule `interp`.

Between two key frames there are PARTS - 1 more moments, at equal parts of the time between them. An object that both
key frames have is there at each: its centre on the line between, its rotation on the arc; its size, visibility,
attribute and points are the earlier key frame's. Velocities are centred differences over the neighbouring moments.

Source: ASAP (arXiv 2212.08914), sAP3D/nusc_annotation_generator.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.annotations import Annotations, Floats

PARTS = 6
"""Parts of the time between two key frames, one moment each."""
PARALLEL = 0.9995
"""Cosine of half the angle between two rotations from which on the arc is taken for a line."""

Integers = NDArray[np.int64]


def interpolate(annotations: Annotations, times_us: Integers, poses: Floats) -> Annotations:
    """Return the annotations of all moments, in their order.

    Args:
        annotations: of the key frames, scene by scene in time order.
        times_us: (S,) of the key frames.
        poses: (S, PARTS, 7) of the vehicle at each key frame and the moments after it: position, quaternion w x y z.
    """
    samples = len(annotations.samples)
    goes_on = annotations.next_sample >= 0
    counts = np.where(goes_on, PARTS, 1)
    first = np.concatenate([[0], np.cumsum(counts)])[:-1].astype(np.int64)
    pairs = _continued(annotations)
    own = np.arange(len(annotations.sample))
    source = [own]
    moment = [first[annotations.sample]]
    center, rotation = [annotations.center], [annotations.rotation]
    velocity = [_key_velocities(annotations, pairs, times_us)]
    after = annotations.next_row[pairs]
    gap_s = 1e-6 * (times_us[annotations.sample[after]] - times_us[annotations.sample[pairs]])
    steady = (annotations.center[after] - annotations.center[pairs])[:, :2] / gap_s[:, np.newaxis]
    for part in range(1, PARTS):
        share = part / PARTS
        source.append(pairs)
        moment.append(first[annotations.sample[pairs]] + part)
        center.append(annotations.center[pairs] + share * (annotations.center[after] - annotations.center[pairs]))
        rotation.append(slerp(annotations.rotation[pairs], annotations.rotation[after], share))
        velocity.append(steady)
    rows, places = np.concatenate(source), np.concatenate(moment)
    order = np.argsort(places, kind="stable")
    rows, places = rows[order], places[order]
    key = np.repeat(np.arange(samples), counts)
    part_of = np.arange(len(key)) - first[key]
    ego = poses[key, part_of]
    names = [
        f"{annotations.samples[index]}{part or ''}" for index, part in zip(key.tolist(), part_of.tolist(), strict=True)
    ]
    following = np.where(np.append(key[1:] != key[:-1], True) & ~goes_on[key], -1, np.arange(1, len(key) + 1))
    return Annotations(
        samples=tuple(names),
        scenes=[annotations.scenes[index] for index in key.tolist()],
        ego=ego[:, :3],
        ego_rotation=ego[:, 3:],
        lidar=annotations.lidar[key],
        lidar_rotation=annotations.lidar_rotation[key],
        next_sample=following.astype(np.int32),
        tokens=[annotations.tokens[index] for index in rows.tolist()],
        sample=places.astype(np.int32),
        category=[annotations.category[index] for index in rows.tolist()],
        attribute=[annotations.attribute[index] for index in rows.tolist()],
        center=np.concatenate(center)[order],
        size=annotations.size[rows],
        rotation=np.concatenate(rotation)[order],
        velocity=np.concatenate(velocity)[order],
        points=annotations.points[rows],
        visibility=annotations.visibility[rows],
        next_row=np.full(len(rows), -1, dtype=np.int32),
    )


def slerp(a: Floats, b: Floats, share: float | Floats) -> Floats:
    """The rotations at `share` of the shorter arc from `a` to `b`, quaternions w x y z (N, 4)."""
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    cosine = (a * b).sum(axis=1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.abs(cosine)
    part = np.broadcast_to(np.asarray(share, dtype=np.float64).reshape(-1, 1), cosine.shape)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)
    straight = (1 - part) * a + part * b
    turned: Floats = np.where(cosine > PARALLEL, straight, curved)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    return turned


def _continued(annotations: Annotations) -> Integers:
    """The rows whose object the very next key frame has too."""
    has = np.flatnonzero(annotations.next_row >= 0)
    after = annotations.sample[annotations.next_row[has]]
    found: Integers = has[after == annotations.next_sample[annotations.sample[has]]].astype(np.int64)
    return found


def _key_velocities(annotations: Annotations, pairs: Integers, times_us: Integers) -> Floats:
    """(N, 2) [m/s] at the key frames: the difference between the moments after and before; NaN where there is none."""
    after = annotations.next_row[pairs]
    gap_s = 1e-6 * (times_us[annotations.sample[after]] - times_us[annotations.sample[pairs]]) / PARTS
    moved = (annotations.center[after] - annotations.center[pairs])[:, :2] / PARTS
    way, time_s = np.zeros((len(annotations.sample), 2)), np.zeros(len(annotations.sample))
    np.add.at(way, pairs, moved)
    np.add.at(time_s, pairs, gap_s)
    np.add.at(way, after, moved)
    np.add.at(time_s, after, gap_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        speeds: Floats = np.where(time_s[:, np.newaxis] > 0, way / time_s[:, np.newaxis], np.nan)
    return speeds
