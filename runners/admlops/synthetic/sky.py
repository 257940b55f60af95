"""Sky, clouds and the distant skyline: a panorama made once a scene, looked up per camera pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial.transform import Rotation

from admlops.synthetic.light import Light
from admlops.synthetic.rig import Sensor

WIDTH, HEIGHT = 4096, 560  # pixels over 360 degrees and over LOWEST..HIGHEST
LOWEST, HIGHEST = -2.0, 47.2  # degrees of elevation
PER_DEGREE = WIDTH / 360


@dataclass(frozen=True)
class SkyView:
    """Where a camera's pixels look, for the rows down to a little under the horizon: panorama row offsets, columns."""

    rows: int
    row_start: NDArray[np.int32]
    column: NDArray[np.int32]


def paint_panorama(light: Light, random: np.random.Generator) -> NDArray[np.uint32]:
    """The panorama, flattened (HEIGHT * WIDTH,), RGBX packed; column 0 looks along x, columns go counterclockwise."""
    elevation = np.linspace(HIGHEST, LOWEST, HEIGHT)[:, None, None]
    mix = np.clip(elevation / 45.0, 0, 1) ** 0.55
    sky = mix * np.array(light.zenith) + (1 - mix) * np.array(light.horizon)
    sky = np.broadcast_to(sky, (HEIGHT, WIDTH, 3)).copy()
    cover = _clouds(light.cloud_cover, random)[..., None] * np.clip(elevation / 8.0, 0, 1) * 0.85
    sky += (np.array(light.cloud) - sky) * cover
    picture = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    _draw_skyline(picture, light, random)
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    packed = np.frombuffer(picture.convert("RGBX").tobytes(), dtype=np.uint32)
    return packed.copy()


def view_sky(camera: Sensor) -> SkyView:
    """Precompute `camera`'s lookups for a vehicle that heads along x."""
    intrinsic = np.array(camera.intrinsic)
    rotation = Rotation.from_quat(np.roll(camera.rotation, -1)).as_matrix()
    rows = min(camera.height, int(intrinsic[1, 2] + 0.05 * intrinsic[1, 1]))
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(rows) + 0.5)
    rays = np.stack([(u - intrinsic[0, 2]) / intrinsic[0, 0], (v - intrinsic[1, 2]) / intrinsic[1, 1]], axis=-1)
    rays = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) @ rotation.T
    azimuth = np.degrees(np.arctan2(rays[..., 1], rays[..., 0]))
    elevation = np.degrees(np.arctan2(rays[..., 2], np.hypot(rays[..., 0], rays[..., 1])))
    row = np.clip((HIGHEST - elevation) / (HIGHEST - LOWEST) * HEIGHT, 0, HEIGHT - 1).astype(np.int32)
    column = np.floor(azimuth * PER_DEGREE).astype(np.int32)
    return SkyView(rows, row * WIDTH, column)


def render_sky(panorama: NDArray[np.uint32], view: SkyView, yaw: float) -> Image.Image:
    """The upper rows of the image (`view.rows` high) for a vehicle heading `yaw` [rad]."""
    shift = int(np.degrees(yaw) * PER_DEGREE)
    column = (view.column + shift) & (WIDTH - 1)
    pixels = panorama[view.row_start + column]
    return Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels.tobytes(), "raw", "RGBX", 0, 1)


def fractal_noise(
    shape: tuple[int, int], random: np.random.Generator, *, coarsest: int, octaves: int
) -> NDArray[np.float32]:
    """Noise (H, W) that wraps round, zero mean and unit deviation: octaves of smoothed white noise."""
    height, width = shape
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        rows = max(2, height * 2**octave // coarsest)
        columns = max(2, width * 2**octave // coarsest)
        cells = random.standard_normal((rows, columns)).astype(np.float32)
        tiled = np.pad(cells, 2, mode="wrap")
        scale_y, scale_x = height / rows, width / columns
        box = (2 - 0.5 / scale_x, 2 - 0.5 / scale_y, 2 + columns - 0.5 / scale_x, 2 + rows - 0.5 / scale_y)
        total += (
            np.asarray(Image.fromarray(tiled).resize((width, height), Image.Resampling.BICUBIC, box)) * 0.55**octave
        )
    total -= total.mean()
    return np.asarray(total / total.std(), dtype=np.float32)


def _clouds(cover: float, random: np.random.Generator) -> NDArray[np.float32]:
    noise = fractal_noise((HEIGHT, WIDTH), random, coarsest=280, octaves=5)
    threshold = np.quantile(noise[::8, ::8], 1 - cover)
    return np.asarray(np.clip((noise - threshold) / 1.2, 0, 1), dtype=np.float32)


def _draw_skyline(picture: Image.Image, light: Light, random: np.random.Generator) -> None:
    """Far buildings and trees in the haze, down to the horizon."""
    draw = ImageDraw.Draw(picture)
    base = int(HIGHEST / (HIGHEST - LOWEST) * HEIGHT) + 2
    haze = np.array(light.horizon)
    brightness = float(np.mean(light.ambient) + 0.4 * np.mean(light.sun))
    for column in range(0, WIDTH, 26):
        if random.random() < 0.30:
            high, wide = float(random.uniform(1.0, 4.5)) * PER_DEGREE, float(random.uniform(14, 60))
            colour = haze * 0.72 + np.array([92.0, 98.0, 108.0]) * brightness * 0.28
            draw.rectangle((column, base - high, column + wide, HEIGHT), fill=_pack(colour))
    for column in range(0, WIDTH, 9):
        high = float(random.uniform(0.5, 1.7)) * PER_DEGREE
        colour = haze * 0.45 + np.array([66.0, 84.0, 58.0]) * brightness * 0.55
        draw.ellipse((column - 12, base - high, column + 12, base + high), fill=_pack(colour))
    colour = haze * 0.5 + np.array([96.0, 100.0, 80.0]) * brightness * 0.5
    draw.rectangle((0, base - 1, WIDTH, HEIGHT), fill=_pack(colour))


def _pack(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(value, 0, 255)) for value in colour)
    return red, green, blue
