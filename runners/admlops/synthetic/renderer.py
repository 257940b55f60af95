"""Pictures of a scene: ground and sky looked up, shadows laid, solids painted from far to near, light and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from admlops.synthetic.ground import Ground, render_ground
from admlops.synthetic.light import Light
from admlops.synthetic.mesh import Mesh, clip_polygon
from admlops.synthetic.rig import Sensor
from admlops.synthetic.shadows import Caster, draw_shadows
from admlops.synthetic.sky import SkyView, render_sky, view_sky

Array = NDArray[np.float64]

NEAR_PLANE = 0.2  # metres in front of the camera at which faces are cut
FAR_PLANE = 190.0
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Placed:
    """A mesh at a pose x y heading (3,)."""

    mesh: Mesh
    pose: Array


@dataclass(frozen=True)
class Backdrop:
    """What a scene's pictures share: ground, sky panorama, light, and one camera-specific part per channel."""

    ground: Ground
    panorama: NDArray[np.uint32]
    light: Light
    views: dict[str, SkyView]
    noise: NDArray[np.int16]
    vignette: Image.Image


def make_backdrop(
    ground: Ground, panorama: NDArray[np.uint32], light: Light, cameras: tuple[Sensor, ...], random: np.random.Generator
) -> Backdrop:
    """Precompute what the scene's pictures share."""
    width, height = cameras[0].width, cameras[0].height
    noise = random.standard_normal((height + 32, width + 32, 3)) * light.noise
    noise[..., :] += random.standard_normal((height + 32, width + 32, 1)) * light.noise * 0.6
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = np.clip(255 * (1.0 - 0.11 * (u * u + 0.6 * v * v)), 0, 255).astype(np.uint8)
    vignette = Image.merge("RGB", [Image.fromarray(fall)] * 3)
    views = {camera.channel: view_sky(camera) for camera in cameras}
    return Backdrop(ground, panorama, light, views, np.round(noise).astype(np.int16), vignette)


def render_camera(
    backdrop: Backdrop,
    camera: Sensor,
    ego_to_world: Array,
    things: list[Placed],
    casters: list[Caster],
    random: np.random.Generator | None,
) -> Image.Image:
    """The RGB picture that `camera` takes from a vehicle at `ego_to_world` (4, 4); no noise without `random`."""
    to_world = ego_to_world @ camera.to_ego
    yaw = float(np.arctan2(ego_to_world[1, 0], ego_to_world[0, 0]))
    picture = Image.new("RGB", (camera.width, camera.height), backdrop.ground.beyond)
    view = backdrop.views[camera.channel]
    picture.paste(render_sky(backdrop.panorama, view, yaw), (0, 0))
    projection = np.array(camera.intrinsic) @ np.linalg.inv(to_world)[:3]
    plane = projection[:, [0, 1, 3]]
    horizon = find_horizon(projection, camera)
    focal = camera.intrinsic[0][0]
    bands = render_ground(backdrop.ground, picture, plane, camera=to_world[:2, 3], horizon=horizon, focal=focal)
    _add_haze(picture, bands, backdrop.light)
    picture = draw_shadows(picture, casters, plane, to_world, backdrop.light, focal)
    picture = _paint_things(picture, things, camera, to_world, backdrop.light)
    return _finish(picture, backdrop, random)


def find_horizon(projection: Array, camera: Sensor) -> int:
    """The first row all of whose pixels look below the horizon by a little."""
    # Ground points at infinity, w = 0, project onto the line h . (u, v, 1) = 0.
    line = np.cross(projection[:, 0], projection[:, 1])
    rows = [-(line[0] * u + line[2]) / line[1] for u in (0.0, float(camera.width))]
    return int(np.clip(np.ceil(max(rows)) + 1, 0, camera.height))


def _add_haze(picture: Image.Image, bands: list[tuple[int, int, float]], light: Light) -> None:
    haze = tuple(int(value * 0.8) for value in light.horizon)
    for first, last, distance in bands:
        share = haze_share(distance)
        if share > 0.02:
            region = (0, first, picture.width, last)
            tint = Image.new("RGB", (picture.width, last - first), haze)
            picture.paste(Image.blend(picture.crop(region), tint, share), region)


def haze_share(distance: float) -> float:
    """Measure how much of a colour is haze at a distance [m]."""
    return float(1 - np.exp(-max(distance - 25.0, 0.0) / 420.0))


def _paint_things(
    picture: Image.Image, things: list[Placed], camera: Sensor, to_world: Array, light: Light
) -> Image.Image:
    """Paint solids from far to near on a layer of twice the resolution, and lay it over the picture."""
    layer = Image.new("RGBA", (camera.width * SUPERSAMPLING, camera.height * SUPERSAMPLING), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for thing, distance in sort_visible(things, camera, to_world):
        _paint_mesh(draw, thing, distance, camera, to_world, light)
    layer = layer.reduce(SUPERSAMPLING)  # colours come out multiplied by their cover, as black is clear
    cover = layer.getchannel("A")
    behind = ImageChops.multiply(picture, Image.merge("RGB", [ImageChops.invert(cover)] * 3))
    return ImageChops.add(
        behind, layer.convert("RGB") if layer.mode == "RGB" else Image.merge("RGB", layer.split()[:3])
    )


def sort_visible(things: list[Placed], camera: Sensor, to_world: Array) -> list[tuple[Placed, float]]:
    """Things in view with the distance to their nearest corner, the farthest first."""
    if not things:
        return []
    poses = np.array([thing.pose for thing in things])
    radii = np.array([thing.mesh.radius for thing in things])
    offset = poses[:, :2] - to_world[:2, 3]
    ahead = offset @ to_world[:2, 2]
    aside = offset @ to_world[:2, 0]
    half = max(camera.intrinsic[0][2], camera.width - camera.intrinsic[0][2]) / camera.intrinsic[0][0]
    spread = np.sqrt(1 + half * half)
    seen = (
        (ahead > -radii) & (np.abs(aside) - half * ahead < radii * spread) & (np.hypot(*offset.T) - radii < FAR_PLANE)
    )
    found = [(things[i], _nearest(things[i], to_world[:2, 3])) for i in np.flatnonzero(seen)]
    return sorted(found, key=lambda item: -item[1])


def _nearest(thing: Placed, eye: Array) -> float:
    """Ground distance from `eye` to the rectangle that bounds the mesh."""
    low, high = thing.mesh.vertices[:, :2].min(axis=0), thing.mesh.vertices[:, :2].max(axis=0)
    local = _into(thing.pose, eye)
    return float(np.hypot(*np.maximum(np.maximum(low - local, local - high), 0.0)))


def _into(pose: Array, point: Array) -> Array:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    delta = point[:2] - pose[:2]
    return np.array([cos * delta[0] + sin * delta[1], -sin * delta[0] + cos * delta[1]])


def _paint_mesh(
    draw: ImageDraw.ImageDraw, thing: Placed, distance: float, camera: Sensor, to_world: Array, light: Light
) -> None:
    faces = find_facing(thing, to_world)
    colours = _shade(thing.mesh, faces, thing.pose[2], haze_share(distance), light)
    for place, outline in project_faces(thing, faces, camera, to_world):
        draw.polygon(outline, fill=colours[place])


def find_facing(thing: Placed, to_world: Array) -> NDArray[np.int64]:
    """The faces of a mesh that show their front to the camera, those that lie behind first."""
    mesh = thing.mesh
    eye = np.append(_into(thing.pose, to_world[:2, 3]), to_world[2, 3])
    facing = ((eye - mesh.vertices[mesh.starts]) * mesh.normals).sum(axis=1) > 0
    visible = np.flatnonzero(facing | mesh.double)
    rank = np.empty(len(mesh.part_layer), dtype=np.int64)
    rank[np.lexsort((-np.linalg.norm(mesh.part_center - eye, axis=1), mesh.part_layer))] = np.arange(len(rank))
    return visible[np.argsort(rank[mesh.part[visible]], kind="stable")]


def project_faces(
    thing: Placed, faces: NDArray[np.int64], camera: Sensor, to_world: Array
) -> Iterator[tuple[int, list[float]]]:
    """Give the place of each face in `faces` with its outline x, y, x, y, … [pixels at SUPERSAMPLING].

    Faces behind the near plane are left out.
    """
    mesh = thing.mesh
    in_camera = _to_camera(mesh.vertices, thing.pose, to_world)
    intrinsic = np.array(camera.intrinsic) * SUPERSAMPLING
    whole = in_camera[:, 2].min() > NEAR_PLANE
    flat = _project(in_camera, intrinsic).ravel().tolist() if whole else []
    for place, face in enumerate(faces.tolist()):
        start, count = int(mesh.starts[face]), int(mesh.counts[face])
        if whole:
            yield place, flat[2 * start : 2 * (start + count)]
            continue
        clipped = clip_near(in_camera[start : start + count])
        if len(clipped) >= 3:
            yield place, _project(clipped, intrinsic).ravel().tolist()


def _to_camera(vertices: Array, pose: Array, to_world: Array) -> Array:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    place = np.array([pose[0], pose[1], 0.0]) - to_world[:3, 3]
    return np.asarray(vertices @ (turn.T @ to_world[:3, :3]) + place @ to_world[:3, :3])


def _project(points: Array, intrinsic: Array) -> Array:
    pixels = points[:, :2] / points[:, 2:] * [intrinsic[0, 0], intrinsic[1, 1]] + [intrinsic[0, 2], intrinsic[1, 2]]
    return np.asarray(np.clip(pixels - 0.5, -30000, 30000))


def clip_near(points: Array) -> Array:
    """The part (M, 3) of an outline (N, 3) in camera axes that lies beyond the near plane."""
    return clip_polygon(points, points[:, 2] - NEAR_PLANE)


def _shade(
    mesh: Mesh, faces: NDArray[np.int64], heading: float, haze: float, light: Light
) -> list[tuple[int, int, int, int]]:
    cos, sin = np.cos(heading), np.sin(heading)
    normals = mesh.normals[faces] @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    factor = np.where(mesh.glow[faces, None], 1.0, light.on(normals))
    colours = mesh.colours[faces] * factor
    colours = colours + (np.array(light.horizon) * 0.85 - colours) * haze
    return [(r, g, b, 255) for r, g, b in np.clip(colours, 0, 255).astype(int).tolist()]


def _finish(picture: Image.Image, backdrop: Backdrop, random: np.random.Generator | None) -> Image.Image:
    """Lens shading, exposure and sensor noise."""
    picture = ImageChops.multiply(picture, backdrop.vignette)
    if random is None:
        return picture
    gain = float(random.uniform(0.97, 1.03))
    top, left = (int(v) for v in random.integers(0, 32, 2))
    pixels = np.asarray(picture, dtype=np.int16)
    exposed = (pixels * np.int16(round(gain * 100))) // np.int16(100)
    exposed += backdrop.noise[top : top + picture.height, left : left + picture.width]
    return Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
