"""The eight faults of pictures: what RoboBEV's levels do, written anew in NumPy and OpenCV.

Pictures are (H, W, 3) of 8 bits with the channels in the order B, G, R, as RoboBEV's tools have them. The functions
draw in another order than the package `imagecorruptions` that made RoboBEV's data, so the noise is not the original's;
what stands still (brightness, colour quantisation, the kernels) is the same to one level of 255.

Sources: RoboBEV (arXiv 2304.06719), docs/CREATE.md; D. Hendrycks and T. Dietterich, *Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations*, 2019, for fog, snow and motion blur.
"""

import math
from typing import Any, Callable, Dict, Sequence

from ..mmlab.common.libraries import load_library
from .fault import Fault

np = None  # type: Any
cv2 = None  # type: Any

CRASHED = (2, 4, 5)
LOST_OF_SIX = (2, 4, 5)
BITS = (4, 3, 2)
BLUR = ((15, 5), (15, 12), (20, 15))
BRIGHTER = (0.2, 0.4, 0.5)
LOW_LIGHT = ((0.40, 120, 0.018), (0.30, 50, 0.026), (0.20, 30, 0.038))
FOG = ((2.0, 2.0), (2.5, 1.5), (3.0, 1.4))
SNOW = (
    (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
)
"""Mean and spread of flakes, their zoom, the threshold, radius and spread of their fall, the share of the picture."""
GRAY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of the channels in their order: the tools take B, G, R for R, G, B."""
WIBBLE = 100.0
QUANTILES = 4096


def load_libraries() -> None:
    """Import NumPy and OpenCV of the model's environment."""
    global np, cv2
    np, cv2 = load_library("numpy"), load_library("cv2")


def crashed_cameras(fault: Fault, cameras: Sequence[str]) -> Sequence[str]:
    """Return the cameras that are black in the whole run: drawn once, each at most once."""
    number = min(CRASHED[fault.level - 1], len(cameras))
    generator = np.random.default_rng(fault.seeds())
    return [sorted(cameras)[place] for place in generator.permutation(len(cameras))[:number].tolist()]


def corrupt_picture(picture: Any, fault: Fault, *, sample: str, camera: str, cameras: Sequence[str]) -> Any:
    """Return the picture with the fault, of the same size and type.

    Args:
        sample: the sample's token; with `camera` it decides what is drawn.
        cameras: of the sample, of which some may be crashed.
    """
    if fault.name == "camera-crash":
        return np.zeros_like(picture) if camera in crashed_cameras(fault, cameras) else picture
    generator = np.random.default_rng(fault.seeds(sample, camera))
    if fault.name == "frame-lost":
        is_lost = generator.random() < LOST_OF_SIX[fault.level - 1] / 6
        return np.zeros_like(picture) if is_lost else picture
    return _CHANGES[fault.name](picture, fault.level - 1, generator)


def _quantize(picture: Any, level: int, generator: Any) -> Any:
    return picture & np.uint8(256 - (1 << (8 - BITS[level])))


def _brighten(picture: Any, level: int, generator: Any) -> Any:
    """Raise HSV's value: all channels by the same factor; what is black becomes grey."""
    value = np.arange(256, dtype=np.float32)
    raised = np.minimum(value + np.float32(255 * BRIGHTER[level]), 255)
    factor = raised / np.maximum(value, 1)
    most = picture.max(axis=2)
    scaled = picture * factor[most][..., None]
    scaled[most == 0] = raised[0]
    return (scaled + np.float32(0.5)).astype(np.uint8)


def _darken(picture: Any, level: int, generator: Any) -> Any:
    """Stretch, gamma 2, less light, then the shot noise of few photons and the sensor's own."""
    share, photons, spread = LOW_LIGHT[level]
    low, high = float(picture.min()), float(picture.max())
    tone = (np.arange(256, dtype=np.float64) - low) / max(high - low, 1.0)
    counts = poisson_quantiles(np.clip(tone, 0, 1) ** 2 * share * photons) / np.float32(photons)
    chance = generator.integers(0, QUANTILES, size=picture.shape, dtype=np.uint16)
    noisy = np.take(counts.reshape(-1), picture.astype(np.int32) * QUANTILES + chance)
    noisy += generator.standard_normal(picture.shape, dtype=np.float32) * np.float32(spread)
    return _to_bytes(noisy)


def poisson_quantiles(means: Any) -> Any:
    """Return of each mean the counts at QUANTILES equal steps of probability, (M, QUANTILES).

    A uniform number then draws a count by a look-up, in a fifth of the time of drawing one; only chances below a step
    are lost.
    """
    most = int(means.max() + 12 * math.sqrt(means.max() + 1)) + 2
    counts = np.arange(most)
    factorials = np.cumsum(np.log(np.maximum(counts, 1)))
    logs = counts * np.log(np.maximum(means, 1e-12))[:, None] - means[:, None] - factorials
    reached = np.cumsum(np.exp(logs), axis=1)
    steps = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found = [np.minimum(np.searchsorted(row, steps), most - 1) for row in reached]
    return np.stack(found).astype(np.float32)


def _blur(picture: Any, level: int, generator: Any) -> Any:
    radius, spread = BLUR[level]
    return _move(picture, radius, spread, generator.uniform(-45, 45))


def _veil(picture: Any, level: int, generator: Any) -> Any:
    """Fog: a cloud of many sizes over the picture, which keeps its brightest level."""
    strength, decay = FOG[level]
    height, width = picture.shape[:2]
    whole = picture.astype(np.float32) / np.float32(255)
    most = float(whole.max())
    side = 1 << max(1, math.ceil(math.log2(max(height, width))))
    whole += (np.float32(strength) * make_cloud(side, decay, generator)[:height, :width])[..., None]
    return _to_bytes(whole * np.float32(most / (most + strength)))


def _snow(picture: Any, level: int, generator: Any) -> Any:
    mean, spread, zoom, threshold, radius, fall, share = SNOW[level]
    height, width = picture.shape[:2]
    part = (math.ceil(height / zoom), math.ceil(width / zoom))
    flakes = generator.standard_normal(part, dtype=np.float32) * np.float32(spread) + np.float32(mean)
    flakes = cv2.resize(flakes, (width, height), interpolation=cv2.INTER_LINEAR)
    flakes[flakes < threshold] = 0
    flakes = np.round(np.clip(flakes, 0, 1) * 255).astype(np.uint8)
    flakes = _move(flakes, radius, fall, generator.uniform(-135, -45)).astype(np.float32) / np.float32(255)
    whole = picture.astype(np.float32) / np.float32(255)
    gray = whole @ np.array(GRAY_WEIGHTS, dtype=np.float32)
    whiter = np.maximum(whole, (gray * np.float32(1.5) + np.float32(0.5))[..., None])
    mixed = np.float32(share) * whole + np.float32(1 - share) * whiter
    return _to_bytes(mixed + (flakes + flakes[::-1, ::-1])[..., None])


_CHANGES: Dict[str, Callable[[Any, int, Any], Any]] = {
    "color-quant": _quantize,
    "brightness": _brighten,
    "low-light": _darken,
    "motion-blur": _blur,
    "fog": _veil,
    "snow": _snow,
}


def _to_bytes(values: Any) -> Any:
    """Levels of 0 to 255 from shares of 0 to 1, whatever lies beyond cut off."""
    return (np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)


def _move(picture: Any, radius: int, spread: float, angle_deg: float) -> Any:
    """Blur along one direction, to one side: a kernel of 2 · radius + 1 places that fall off as a normal curve."""
    length = 2 * radius + 1
    weights = np.exp(-np.square(np.arange(length)) / (2.0 * spread * spread))
    weights /= weights.sum()
    kernel = np.zeros((2 * length - 1, 2 * length - 1), np.float32)
    angle = math.radians(angle_deg)
    for step, weight in enumerate(weights.tolist()):
        x, y = (math.ceil(step * part - 0.5) for part in (math.cos(angle), math.sin(angle)))
        kernel[length - 1 + y, length - 1 + x] += weight
    rows, columns = np.flatnonzero(kernel.any(axis=1)), np.flatnonzero(kernel.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    kept = kernel[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    anchor = (length - 1 - left, length - 1 - top)
    return cv2.filter2D(picture, -1, np.ascontiguousarray(kept), anchor=anchor, borderType=cv2.BORDER_REPLICATE)


def make_cloud(side: int, decay: float, generator: Any) -> Any:
    """Return a plasma fractal (side, side) of 0 to 1, by the diamond-square algorithm on a torus; side is a power of 2.

    Each pass halves the grid: first the middles of squares, then those of their edges, each the mean of its four
    neighbours and a random part that falls by `decay` from pass to pass.
    """
    grid = np.zeros((side, side), np.float32)
    step, wibble = side, WIBBLE
    while step >= 2:
        half = step // 2
        spread = np.float32(wibble * wibble)

        def disturb(sums: Any, spread: Any = spread) -> Any:
            noise = generator.random(sums.shape, dtype=np.float32)
            return sums * np.float32(0.25) + (noise * 2 - 1) * spread

        corners = grid[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        middles = disturb(across + np.roll(across, -1, axis=1))
        grid[half::step, half::step] = middles
        beside = middles + np.roll(middles, 1, axis=0)
        grid[::step, half::step] = disturb(beside + corners + np.roll(corners, -1, axis=1))
        above = middles + np.roll(middles, 1, axis=1)
        grid[half::step, ::step] = disturb(above + corners + np.roll(corners, -1, axis=0))
        step, wibble = half, wibble / decay
    grid -= grid.min()
    most = float(grid.max())
    return grid / np.float32(most) if most > 0 else grid
