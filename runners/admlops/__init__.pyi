from admlops.api import AdmlopsError as AdmlopsError
from admlops.api import CancelToken as CancelToken
from admlops.api import Comparison as Comparison
from admlops.api import Metric as Metric
from admlops.api import Metrics as Metrics
from admlops.api import Record as Record
from admlops.api import Run as Run
from admlops.api import RunEvent as RunEvent
from admlops.api import RunningRun as RunningRun
from admlops.api import compare as compare
from admlops.api import evaluate as evaluate
from admlops.api import list_runs as list_runs
from admlops.api import make_tables as make_tables
from admlops.api import open_run as open_run
from admlops.api import plot_latency as plot_latency
from admlops.api import plot_parts as plot_parts
from admlops.api import plot_precision_recall as plot_precision_recall
from admlops.api import plot_scores as plot_scores
from admlops.api import report as report
from admlops.api import run as run
from admlops.api import start as start

__version__: str
