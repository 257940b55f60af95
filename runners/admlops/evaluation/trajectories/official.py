"""Ask VAD's code about a run's plans and futures: one program measures both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from admlops.evaluation.official.run import Asked
from admlops.evaluation.trajectories.arrays import STEPS, no_futures
from admlops.evaluation.trajectories.ground_truth import motion_ground_truth
from admlops.evaluation.trajectories.outputs import FutureTable, PlanTable
from admlops.evaluation.trajectories.vad_files import CHECKOUT, OFFICIAL_NAME, official_vad

Values = Mapping[str, Mapping[str, float | None]]


def ask_vad(asked: Asked) -> Values:
    """Return VAD's `stp3` and `motion`; what the records do not have counts as standing still, or as nothing.

    Raises:
        EnvError: the environment cannot be set up, or the code fails.
    """
    return asked.context.share("trajectories.official", lambda: _ask(asked))


def _ask(asked: Asked) -> Values:
    context = asked.context
    count = len(context.metadata)
    plans = context.share("trajectories.plans", PlanTable).paths(context) or [np.zeros((STEPS, 2))] * count
    futures = context.share("trajectories.futures", FutureTable).predictions(context) or [no_futures()] * count
    truth = motion_ground_truth(context)
    return official_vad(
        [truth.vad_sample(index, plans[index], futures[index]) for index in range(count)],
        environment=asked.environment(OFFICIAL_NAME),
        checkout=asked.checkout(CHECKOUT),
        layout=asked.layout,
        folder=context.run.predictions_path,
    )
