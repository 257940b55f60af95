"""Official code for predicted motion: VAD's metrics, from its repository."""

from __future__ import annotations

from admlops.evaluation.base import Result
from admlops.evaluation.official.run import Asked, Official
from admlops.evaluation.trajectories.official import ask_vad


def run_vad(asked: Asked, result: Result) -> Official:
    """Ask VAD's motion metrics about the run's futures."""
    return asked.answer(result, ask_vad(asked)["motion"])
