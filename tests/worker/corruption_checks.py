"""Checks of faults that need OpenCV: run by the embedded model's own interpreter, whose exit code is the answer."""

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "runners")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from worker.adapter import Adapter  # noqa: E402
from worker.corruptions import pictures  # noqa: E402
from worker.corruptions.adapter import FaultyAdapter, read_bgr  # noqa: E402
from worker.corruptions.fault import LEVELS, PICTURES, Fault  # noqa: E402
from worker.corruptions.points import corrupt_sweep  # noqa: E402

CAMERAS = ["A", "B", "C", "D", "E", "F"]


def corrupt(picture: Any, fault: Fault, sample: str = "s", camera: str = "A") -> Any:
    return pictures.corrupt_picture(picture, fault, sample=sample, camera=camera, cameras=CAMERAS)


def check_pictures(picture: Any) -> None:
    for name in PICTURES:
        for level in LEVELS:
            fault = Fault(name, level)
            once, again = corrupt(picture, fault), corrupt(picture.copy(), fault)
            assert (once.shape, once.dtype) == (picture.shape, np.uint8), fault
            assert np.array_equal(once, again), fault
            if name in ("low-light", "fog", "snow", "motion-blur"):
                assert not np.array_equal(once, corrupt(picture, fault, sample="t")), fault
                assert not np.array_equal(once, corrupt(picture, fault, camera="B")), fault
                assert not np.array_equal(once, corrupt(picture, Fault(name, level, 1))), fault


def check_definitions(picture: Any) -> None:
    for level, bits in zip(LEVELS, (4, 3, 2), strict=True):
        assert len(np.unique(corrupt(picture, Fault("color-quant", level)))) <= 2**bits
    for level, added in zip(LEVELS, (0.2, 0.4, 0.5), strict=True):
        hsv = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
        hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
        expected = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        assert np.abs(corrupt(picture, Fault("brightness", level)).astype(float) - expected).max() <= 1.5
    for level, number in zip(LEVELS, (2, 4, 5), strict=True):
        assert len(set(pictures.crashed_cameras(Fault("camera-crash", level), CAMERAS))) == number
        black = [not corrupt(picture, Fault("frame-lost", level), sample=str(n)).any() for n in range(600)]
        assert abs(np.mean(black) - number / 6) < 0.07
    means = [corrupt(picture, Fault("low-light", level)).mean() for level in LEVELS]
    assert means == sorted(means, reverse=True)
    assert means[0] < 0.4 * picture.mean()
    counts = pictures.poisson_quantiles(np.array([0.0, 0.5, 5.0, 48.0]))
    assert np.allclose(counts.mean(axis=1), [0, 0.5, 5, 48], rtol=1e-3)
    assert np.allclose(counts.var(axis=1), [0, 0.5, 5, 48], rtol=1e-2)


def check_blur(picture: Any) -> None:
    """A plain blur, place by place, gives the same to one level."""
    fault = Fault("motion-blur", 2)
    angle = np.radians(np.random.default_rng(fault.seeds("s", "A")).uniform(-45, 45))
    weights = np.exp(-(np.arange(31) ** 2) / (2 * 12.0**2))
    weights /= weights.sum()
    padded = np.pad(picture.astype(float), ((31, 31), (31, 31), (0, 0)), mode="edge")
    total = np.zeros(picture.shape)
    height, width = picture.shape[:2]
    for step, weight in enumerate(weights):
        x, y = (int(np.ceil(step * part - 0.5)) for part in (np.cos(angle), np.sin(angle)))
        total += weight * padded[31 + y : 31 + y + height, 31 + x : 31 + x + width]
    assert np.abs(corrupt(picture, fault) - total).max() <= 1.01


def check_adapter(folder: Path, picture: Any) -> None:
    """An adapter reads the worse picture by its path, which is gone afterwards; the file is as it was."""
    path = folder / "a.png"
    cv2.imwrite(str(path), picture)
    before = path.read_bytes()

    class Reads(Adapter):
        name = "Reads"
        path = ""

        def prepare(self, sample: Any) -> Any:
            self.path = sample["cameras"]["A"]["path"]
            return read_bgr(self.path)

    own = Reads()
    sample: Any = {"sample_token": "s", "cameras": {"A": {"path": str(path)}}}
    adapter = FaultyAdapter(own, Fault("fog", 3))
    seen = adapter.prepare(sample)
    assert np.array_equal(
        seen, pictures.corrupt_picture(picture, Fault("fog", 3), sample="s", camera="A", cameras=["A"])
    )
    assert own.path.startswith("/proc/self/fd/")
    assert not Path(own.path).exists()
    assert path.read_bytes() == before
    assert sample["cameras"]["A"]["path"] == str(path)
    assert (adapter.name, adapter.reads_apart()) == ("Reads", False)


def check_sweeps() -> None:
    points = np.random.default_rng(0).normal(size=(4000, 5)).astype("<f4")
    points[:, 4] = np.arange(4000) % 32
    for level, share in zip(LEVELS, (0.5, 0.3, 0.1), strict=True):
        kept = len(corrupt_sweep(points.tobytes(), Fault("lidar-points", level), sweep="x")) / points.nbytes
        assert abs(kept - share) < 0.03
        found = np.frombuffer(corrupt_sweep(points.tobytes(), Fault("lidar-beams", level), sweep="x"), "<f4")
        assert len(np.unique(found.reshape(-1, 5)[:, 4])) == 32 >> level


pictures.load_libraries()
PICTURE = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 160, 3), dtype=np.uint8), (0, 0), 2.0)
PICTURE = np.clip((PICTURE.astype(float) - 128) * 4 + 128, 0, 255).astype(np.uint8)
check_pictures(PICTURE)
check_definitions(PICTURE)
check_blur(PICTURE)
check_adapter(Path(sys.argv[1]), PICTURE)
check_sweeps()
