"""What a smoke test of a training takes where a person names nothing: small synthetic data, a few iterations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.types import Planned, Say
from admlops.pipeline.train_request import TrainRequest
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.images_writer import ImageOptions, synthesize_images
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
from admlops.synthetic.options import MARKER
from admlops.training.preflight import RANDOM

ITERATIONS = 3
SCENES, SAMPLES = 3, 4
"""Of nuScenes: the first two of the synthetic scenes are mini_val's, the third is mini_train's."""
PICTURES = "pictures"


def fill_in(layout: Layout, model: Model, request: TrainRequest, *, say: Say) -> TrainRequest:
    """Return the request of a smoke test with data, length and first weights, where it names none.

    Raises:
        UsageError: nothing makes data that the model is trained on.
    """
    if not request.smoke:
        return request
    if request.data is None:
        request = replace(request, data=_make_data(layout, model, say=say))
    if request.teacher is None and model.training is not None and model.training.needs_teacher:
        request = replace(request, teacher=model.default_checkpoint)
    if request.start is None:
        request = replace(request, start=RANDOM)
    if request.epochs is None and request.iterations is None:
        request = replace(request, iterations=ITERATIONS)
    return request


def plan_smoke_data(layout: Layout, model: Model) -> Planned | None:
    """Say what data would be made; None if they are there."""
    kind, root = _find_data(layout, model)
    return None if _is_made(root) else Planned(action="make", target=str(root), detail=f"synthetic data, {kind}")


def _find_data(layout: Layout, model: Model) -> tuple[str, Path]:
    kind = "images" if model.training is not None and model.training.trainer == PICTURES else model.reads[0]
    return kind, layout.data / f"smoke-{kind}"


def _is_made(root: Path) -> bool:
    return (root / MARKER).is_file()


def _make_data(layout: Layout, model: Model, *, say: Say) -> Path:
    kind, root = _find_data(layout, model)
    if _is_made(root):
        return root
    say(f"making synthetic data to train on in {root}")
    if kind == "images":
        synthesize_images(root, ImageOptions(scenes=1, samples=2, scale=0.25))
    elif kind == "nuscenes":
        synthesize(root, SynthesisOptions(scenes=SCENES, samples=SAMPLES))
    elif kind == "openlanev2":
        synthesize_openlane(root, OpenLaneOptions(scenes=SCENES, samples=2))
    else:
        raise UsageError(
            f"nothing makes {kind} data that {model.name} is trained on",
            hint=f"admlops train {model.name} --smoke --data DIR",
        )
    return root
