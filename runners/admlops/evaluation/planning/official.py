"""Official code for plans: VAD's metrics, from its repository."""

from __future__ import annotations

from admlops.evaluation.base import Result
from admlops.evaluation.official.run import Asked, Official
from admlops.evaluation.planning.scores import published_names
from admlops.evaluation.trajectories.official import ask_vad


def run_vad(asked: Asked, result: Result) -> Official:
    """Ask VAD's planning metrics about the run's plans."""
    return asked.answer(result, published_names(ask_vad(asked)["stp3"]))
