"""The ground as a camera sees it: textures painted from the world's polygons, looked up through a homography.

The ground is the plane z = 0, so a pinhole image of it is a projective map of a top-down picture. Each image is
rendered in bands of rows; a band takes the texture of the pyramid level that fits its distance, and several rows per
pixel row where the plane is seen at a flat angle (anisotropic filtering).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from admlops.synthetic.light import Light
from admlops.synthetic.markings import Paint
from admlops.synthetic.sky import fractal_noise

Array = NDArray[np.float64]

NEAR_RADIUS, FAR_RADIUS = 62.0, 260.0  # metres round the trajectory covered by the fine and the coarse texture
FAR_TEXEL = 0.2
TILE = 1024
BAND_EDGES = (4.0, 7.0, 11.0, 17.0, 26.0, 40.0, 58.0, 90.0, 150.0, 300.0, 2000.0)  # ground distances [m]
MAX_SUBROWS = 8


@dataclass(frozen=True)
class Texture:
    """A pyramid of pictures of a rectangle of ground, each level half as fine as the one before."""

    levels: tuple[Image.Image, ...]
    texel: float
    to_texel: Array  # (3, 3), world x y 1 -> level-0 texels


@dataclass(frozen=True)
class Ground:
    """The fine texture near the trajectory, the coarse one beyond, and the colour of everything further away."""

    near: Texture
    far: Texture
    beyond: tuple[int, int, int]

    def brightness(self, points: Array) -> Array:
        """Luminance 0..1 of the ground at points (N, 2), 0.4 where there is no texture."""
        texture = self.near
        texels = points @ texture.to_texel[:2, :2].T + texture.to_texel[:2, 2]
        level = 1
        grey = np.asarray(texture.levels[level].convert("L"))
        column, row = (np.floor(texels / 2**level)).astype(np.int64).T
        inside = (row >= 0) & (row < grey.shape[0]) & (column >= 0) & (column < grey.shape[1])
        values = np.full(len(points), 0.4)
        values[inside] = grey[row[inside], column[inside]] / 255.0
        return values


def build_ground(
    paints: list[Paint],
    verge: tuple[float, float, float],
    trajectory: Array,
    light: Light,
    *,
    texel: float,
    random: np.random.Generator,
) -> Ground:
    """Paint the ground round a trajectory (N, 2) [m] in `light`, `texel` [m] fine."""
    factor = light.on(np.array([[0.0, 0.0, 1.0]]))[0]
    grain = fractal_noise((TILE, TILE), random, coarsest=4, octaves=2)
    mottle = fractal_noise((TILE, TILE), random, coarsest=256, octaves=5)
    noise = (0.035 * grain + 0.045 * mottle).astype(np.float32)
    textures = []
    for size, radius in ((texel, NEAR_RADIUS), (FAR_TEXEL, FAR_RADIUS)):
        to_texel, shape = _frame(trajectory, radius, size)
        picture = _paint(paints, verge, to_texel, shape, factor, noise)
        levels = [picture]
        while min(levels[-1].size) > 64 and len(levels) < 6:
            levels.append(levels[-1].reduce(2))
        textures.append(Texture(tuple(levels), size, to_texel))
    beyond = tuple(int(min(255, value)) for value in np.array(verge) * factor)
    return Ground(textures[0], textures[1], (beyond[0], beyond[1], beyond[2]))


def render_ground(
    ground: Ground, image: Image.Image, world_to_image: Array, *, camera: Array, horizon: int, focal: float
) -> list[tuple[int, int, float]]:
    """Draw the ground into the rows of `image` below `horizon`.

    `world_to_image` (3, 3) maps ground points (x, y, 1) to homogeneous pixels; `camera` (2,) is the point under the
    camera. Returns the bands drawn: first row, row after the last, distance [m].
    """
    width, height = image.size
    inverse = np.asarray(np.linalg.inv(world_to_image), dtype=np.float64)
    bands = []
    for first, last, distance in _split_rows(inverse, camera, horizon, (width, height)):
        band = _render_band(ground, inverse, (width, last - first), first, distance, focal)
        image.paste(band, (0, first))
        bands.append((first, last, distance))
    return bands


def _render_band(
    ground: Ground, inverse: Array, size: tuple[int, int], first: int, distance: float, focal: float
) -> Image.Image:
    width, rows = size
    across = distance / focal  # metres a pixel
    down = max(across, distance * distance / (focal * 1.5))
    texture = ground.near if distance < NEAR_RADIUS - 5 else ground.far
    subrows = int(np.clip(np.ceil(down / max(texture.texel, across)), 1, MAX_SUBROWS))
    wanted = max(across, down / subrows) / texture.texel
    level = int(np.clip(np.floor(np.log2(max(wanted, 1.0)) + 0.3), 0, len(texture.levels) - 1))
    shift = np.array([[1.0, 0.0, 0.0], [0.0, 1.0 / subrows, first], [0.0, 0.0, 1.0]])
    halve = np.diag([0.5**level, 0.5**level, 1.0])
    matrix = halve @ texture.to_texel @ inverse @ shift
    matrix = matrix / matrix[2, 2]
    band = texture.levels[level].transform(
        (width, rows * subrows),
        Image.Transform.PERSPECTIVE,
        tuple(matrix.ravel()[:8]),
        Image.Resampling.BILINEAR,
        fillcolor=ground.beyond,
    )
    return band.reduce((1, subrows)) if subrows > 1 else band


def _split_rows(inverse: Array, camera: Array, horizon: int, size: tuple[int, int]) -> list[tuple[int, int, float]]:
    """Bands of rows (first, after last, distance of the middle row), from the bottom of the image to the horizon."""
    width, height = size
    rows = np.arange(max(horizon, 0), height)
    if not len(rows):
        return []
    pixels = np.stack([np.full(len(rows), width / 2), rows + 0.5, np.ones(len(rows))])
    points = inverse @ pixels
    distances = np.hypot(*(points[:2] / points[2] - camera[:, None]))
    label = np.searchsorted(BAND_EDGES, distances)
    cuts = np.flatnonzero(np.diff(label)) + 1
    starts, ends = [0, *cuts.tolist()], [*cuts.tolist(), len(rows)]
    return [
        (int(rows[a]), int(rows[b - 1]) + 1, float(np.sqrt(distances[a] * distances[b - 1])))
        for a, b in zip(starts, ends, strict=True)
    ]


def _frame(trajectory: Array, radius: float, texel: float) -> tuple[Array, tuple[int, int]]:
    """World-to-texel map and (width, height) of a rectangle along the trajectory's chord that holds it and `radius`."""
    chord = trajectory[-1] - trajectory[0]
    angle = float(np.arctan2(chord[1], chord[0])) if np.hypot(*chord) > 1.0 else 0.0
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])  # y down in pictures
    local = trajectory @ turn.T
    low, high = local.min(axis=0) - radius, local.max(axis=0) + radius
    width, height = (int(v) for v in np.ceil((high - low) / texel / 32) * 32)
    matrix = np.eye(3)
    matrix[:2, :2] = turn / texel
    matrix[:2, 2] = -low / texel
    return matrix, (width, height)


def _paint(
    paints: list[Paint],
    verge: tuple[float, float, float],
    to_texel: Array,
    size: tuple[int, int],
    factor: Array,
    noise: NDArray[np.float32],
) -> Image.Image:
    """Paint tile by tile at twice the resolution, reduce, and roughen."""
    outlines = [paint.points @ to_texel[:2, :2].T + to_texel[:2, 2] for paint in paints]
    low = np.array([outline.min(axis=0) for outline in outlines])
    high = np.array([outline.max(axis=0) for outline in outlines])
    colours = [tuple(int(np.clip(v, 0, 255)) for v in np.array(paint.colour) * factor) for paint in paints]
    background = tuple(int(np.clip(v, 0, 255)) for v in np.array(verge) * factor)
    picture = Image.new("RGB", size)
    for top in range(0, size[1], TILE):
        for left in range(0, size[0], TILE):
            corner = np.array([left, top])
            extent = min(TILE, size[0] - left), min(TILE, size[1] - top)
            tile = Image.new("RGB", (extent[0] * 2, extent[1] * 2), background)
            rough = Image.new("L", extent, 56)
            draw, draw_rough = ImageDraw.Draw(tile), ImageDraw.Draw(rough)
            for index in np.flatnonzero((low < corner + extent).all(axis=1) & (high > corner).all(axis=1)):
                outline = outlines[index] - corner
                draw.polygon((outline * 2 - 0.5).ravel().tolist(), fill=colours[index])
                draw_rough.polygon(outline.ravel().tolist(), fill=int(paints[index].roughness * 20))
            picture.paste(_roughen(tile.reduce(2), rough, noise), (left, top))
    return picture


def _roughen(tile: Image.Image, rough: Image.Image, noise: NDArray[np.float32]) -> Image.Image:
    width, height = tile.size
    factor = 1 + np.asarray(rough, dtype=np.float32) / 20 * noise[:height, :width]
    pixels = np.asarray(tile, dtype=np.float32) * factor[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
