"""The samples that int8 ranges were taken from, and keeping them apart from those that are judged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from admlops.core.errors import UsageError
from admlops.deployment.manifest import Calibration, Manifest


def make_calibration(data: str, version: str, samples: Sequence[str]) -> Calibration:
    """Return what a manifest says of calibration samples, by their tokens."""
    digest = hashlib.sha256("\n".join(samples).encode()).hexdigest()
    return Calibration(data=data, version=version, samples=list(samples), samples_sha256=digest)


def require_apart(manifest: Manifest | None, samples: Iterable[str]) -> None:
    """Raise UsageError if a file's ranges were taken from any of the samples that it is to be judged on."""
    if manifest is None or manifest.calibration is None:
        return
    both = sorted(set(manifest.calibration.samples) & set(samples))
    if both:
        raise UsageError(
            f"{manifest.model}/{manifest.key}: {len(both)} of these samples are among the "
            f"{len(manifest.calibration.samples)} that its int8 ranges were taken from, such as {both[0]}",
            hint="pass another --split, --scene or --tokens, without the samples of its ranges",
        )
