"""Write the synthetic scenes that stand in for a data set that is not there: two short ones of half size."""

from __future__ import annotations

from pathlib import Path

from admlops.core.types import Say, Watch
from admlops.synthetic.images_writer import ImageOptions, synthesize_images
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
from admlops.synthetic.options import SynthesisOptions
from admlops.synthetic.writer import synthesize

SCENES, SAMPLES, SCALE, SEED = 2, 12, 0.5, 1
"""The same on every machine, so that numbers on them can be compared."""


def make_nuscenes(target: Path, say: Say) -> None:
    """Write the scenes in nuScenes' layout.

    Raises:
        UsageError: the folder holds something else.
        StorageError: it cannot be written.
    """
    options = SynthesisOptions(scenes=SCENES, samples=SAMPLES, scale=SCALE, seed=SEED)
    synthesize(target, options, on_progress=_quarters(say))


def make_openlane(target: Path, say: Say) -> None:
    """Write the scenes in OpenLane-V2's layout; errors as `make_nuscenes`."""
    options = OpenLaneOptions(scenes=SCENES, samples=SAMPLES, scale=SCALE, seed=SEED)
    synthesize_openlane(target, options, on_progress=_quarters(say))


def make_images(target: Path, say: Say) -> None:
    """Write 24 pictures with boxes round what is seen, those of `data synthesize --format images` without options.

    Errors as `make_nuscenes`.
    """
    synthesize_images(target, ImageOptions(), on_progress=_quarters(say))


def _quarters(say: Say) -> Watch:
    def show(done: int, total: int) -> None:
        if done % max(1, total // 4) == 0:
            say(f"synthetic scenes: {done} of {total} key frames")

    return show
