"""The Python API, for notebooks and scripts: `import admlops` gives every name of this room's `__all__`.

Runs are opened by name or path and read lazily; nothing here prints. What a person can mend raises `AdmlopsError`,
whose text ends with the next step. docs/api.md shows it in use, docs/notebook.ipynb from a run to a figure.

It may import every room but cli. Begin with `runs.py` (a run, and what can be done with one).
"""

from admlops.api.runs import Run, RunningRun, battle, compare, evaluate, list_runs, open_run, run, start
from admlops.api.values import Comparison, Metrics
from admlops.api.views import make_tables, plot_latency, plot_parts, plot_precision_recall, plot_scores, report
from admlops.core.errors import AdmlopsError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.battle import Battle
from admlops.execution.cancel import CancelToken
from admlops.execution.scene_job import RunEvent
from admlops.results.record import Record

__all__ = [
    "AdmlopsError",
    "Battle",
    "CancelToken",
    "Comparison",
    "Metric",
    "Metrics",
    "Record",
    "Run",
    "RunEvent",
    "RunningRun",
    "battle",
    "compare",
    "evaluate",
    "list_runs",
    "make_tables",
    "open_run",
    "plot_latency",
    "plot_parts",
    "plot_precision_recall",
    "plot_scores",
    "report",
    "run",
    "start",
]
