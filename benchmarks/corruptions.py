"""Time the faults of pictures: CPU seconds for the six pictures of a sample, at nuScenes' size, beside decoding them.

Run by an interpreter that has NumPy and OpenCV, such as the embedded model's:

    $(admlops env run GroundPlane -- python -c 'import sys; print(sys.executable)') benchmarks/corruptions.py [PICTURE]

Each fault is timed in CPU time, so that other work on the machine does not count. Motion blur stands beside
the same blur done place by place, low light beside a count drawn for each pixel: both sides in one go, with the ratio.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "runners")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from worker.corruptions import pictures  # noqa: E402
from worker.corruptions.fault import LEVELS, PICTURES, Fault  # noqa: E402

CAMERAS = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"]
SIZE = (900, 1600)
REPEATS = 3


def timed(work: Callable[[], object]) -> float:
    """The least CPU time of some repeats [s]."""
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def plain_blur(picture: Any) -> Any:
    """The blur of level 2, one shifted copy after the other."""
    weights = np.exp(-(np.arange(31) ** 2) / (2 * 12.0**2))
    padded = np.pad(picture, ((31, 31), (31, 31), (0, 0)), mode="edge")
    total = np.zeros(picture.shape)
    for step, weight in enumerate(weights / weights.sum()):
        total += weight * padded[31 + step // 2 : 31 + step // 2 + SIZE[0], 31 + step : 31 + step + SIZE[1]]
    return total.astype(np.uint8)


def main() -> None:
    """Print a table, and the ratios."""
    pictures.load_libraries()
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    picture = cv2.imread(sys.argv[1]) if len(sys.argv) > 1 else cv2.GaussianBlur(noise, (0, 0), 5)
    _, content = cv2.imencode(".jpg", picture)
    decoding = timed(lambda: [cv2.imdecode(content, cv2.IMREAD_COLOR) for _ in CAMERAS])
    print(f"six pictures of {picture.shape[1]}x{picture.shape[0]}, CPU seconds; decoding them takes {decoding:.2f}")

    def whole(fault: Fault) -> None:
        for camera in CAMERAS:
            worse = pictures.corrupt_picture(picture, fault, sample="token", camera=camera, cameras=CAMERAS)
            cv2.imencode(".bmp", worse)

    most = 0.0
    for name in PICTURES:
        times = [timed(partial(whole, Fault(name, level))) for level in LEVELS]
        most = max(most, *times)
        print(f"{name:14s}", "  ".join(f"{seconds:5.2f}" for seconds in times))
    print(f"heaviest: {most:.2f} s a sample, {most / decoding:.1f} times decoding")
    blur = timed(lambda: plain_blur(picture)) / timed(
        lambda: pictures.corrupt_picture(picture, Fault("motion-blur", 2), sample="t", camera="c", cameras=CAMERAS)
    )
    drawn = timed(lambda: np.random.default_rng(0).poisson(picture * 0.2)) / timed(
        lambda: pictures.corrupt_picture(picture, Fault("low-light", 1), sample="t", camera="c", cameras=CAMERAS)
    )
    print(
        f"a blur place by place takes {blur:.1f} times as long, drawn counts alone {drawn:.1f} times all of low light"
    )


if __name__ == "__main__":
    main()
