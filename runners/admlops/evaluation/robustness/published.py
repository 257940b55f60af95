"""RoboBEV's published values: the baseline that its corruption errors are relative to, and rows to stand beside ours.

Source: RoboBEV (arXiv 2304.06719), docs/results/*.md and docs/RESULTS.md, read in November 2026. Val of nuScenes, the
authors' own noise. README's mCE of BEVFormer-Small (101.23) is a slip: RESULTS.md and the definition give 102.40.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from admlops.evaluation.robustness.scores import Rates, rate
from admlops.worker.corruptions.fault import PICTURES

BASELINE = "DETR3D"
BASELINE_NDS: Mapping[str, tuple[float, float, float]] = {
    "camera-crash": (0.3284, 0.2594, 0.2700),
    "frame-lost": (0.3437, 0.2514, 0.1860),
    "color-quant": (0.3990, 0.3255, 0.2287),
    "motion-blur": (0.3721, 0.2343, 0.1918),
    "brightness": (0.4225, 0.4012, 0.3769),
    "low-light": (0.3334, 0.2832, 0.2192),
    "fog": (0.4047, 0.3922, 0.3767),
    "snow": (0.2432, 0.1692, 0.1616),
}
"""NDS of DETR3D at the levels easy, mid and hard."""


@dataclass(frozen=True)
class Published:
    """A row of the table: the clean NDS, the mean over levels of each fault in RoboBEV's order, mCE and mRR [%]."""

    clean: float
    means: tuple[float, ...]
    mce: float
    mrr: float

    @property
    def by_fault(self) -> dict[str, float]:
        """The means by fault. The table's order is crash, lost, quant, blur, bright, dark, fog, snow."""
        return dict(zip(PICTURES, self.means, strict=True))


PUBLISHED: Mapping[str, Published] = {
    "DETR3D": Published(0.4224, (0.2859, 0.2604, 0.3177, 0.2661, 0.4002, 0.2786, 0.3912, 0.1913), 100.0, 70.77),
    "PETR R50-p4": Published(0.3665, (0.2320, 0.2166, 0.2472, 0.2299, 0.2841, 0.1571, 0.2876, 0.1417), 111.01, 61.26),
    "PETR VoV-p4 1600": Published(
        0.4550, (0.2924, 0.2792, 0.2968, 0.2490, 0.3858, 0.2305, 0.3703, 0.2632), 100.69, 65.03
    ),
    "BEVFormer-S": Published(0.4787, (0.2771, 0.2459, 0.3275, 0.2570, 0.3741, 0.2413, 0.3583, 0.1809), 102.40, 59.07),
    "BEVFormer-B": Published(0.5174, (0.3154, 0.3017, 0.3509, 0.2695, 0.4184, 0.2515, 0.4069, 0.1857), 97.97, 60.40),
    "Sparse4D R101": Published(0.5438, (0.2873, 0.2611, 0.3310, 0.2514, 0.3984, 0.2510, 0.3884, 0.2259), 100.01, 55.04),
}


def recompute(name: str) -> Rates:
    """Return the rates that a row of the table has by the definition: the mean over levels stands for each of them."""
    row = PUBLISHED[name]
    return rate(row.clean, {fault: [mean] * 3 for fault, mean in row.by_fault.items()}, BASELINE_NDS)


MAPBENCH_CLEAN_MAP: Mapping[str, tuple[float, tuple[float, ...], float]] = {
    "MapTR": (0.503, (0.150, 0.142, 0.354, 0.235, 0.443, 0.227, 0.385, 0.038), 49.3),
    "MapTRv2": (0.615, (0.188, 0.182, 0.453, 0.310, 0.549, 0.323, 0.507, 0.011), 51.4),
    "StreamMapNet": (0.634, (0.134, 0.155, 0.481, 0.443, 0.570, 0.361, 0.524, 0.091), 54.4),
}
"""MapBench (arXiv 2406.12214): clean map mAP, the means over levels in the same order, and mRR [%]. Its mCE does not
follow from these values by the definition above, so none stands here; its levels are not stated whole either."""
