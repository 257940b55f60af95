"""A run, and what can be done with one: open, evaluate, compare, and run anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from admlops.api.values import Comparison, Metrics, Pair
from admlops.catalog import find_known
from admlops.core.errors import RecordError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.core.types import Say
from admlops.curation.tags import read_rules
from admlops.curation.where import read_where
from admlops.evaluation.energy.carbon import choose_carbon
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import metrics_of
from admlops.evaluation.statistics.battle import Battle
from admlops.evaluation.statistics.paired_bootstrap import compare_evaluated, read_evaluated
from admlops.execution.cancel import CancelToken
from admlops.execution.scene_job import RunEvent
from admlops.pipeline.background import BackgroundRun, RunOptions, make_request
from admlops.pipeline.battle import battle_runs
from admlops.pipeline.run import run_model
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.results.data_set import open_run_data
from admlops.results.frames import Library, make_frame
from admlops.results.header import RunHeader
from admlops.results.index import read_metrics
from admlops.results.liveness import ObservedState
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder
from admlops.results.runs import find_run
from admlops.results.runs import list_runs as list_folders
from admlops.results.tables import TABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OnEvent = Callable[[RunEvent, int], None]
"""Called with each event of a run and the number of samples in it."""


class EvaluateOptions(TypedDict, total=False):
    """The options of `evaluate` by name."""

    data: str | Path | None
    official: bool
    boxes_2d: str | Path | None
    protocols: Sequence[str]
    where: str | None
    rules: str | Path | None
    country: str | None
    intensity: float | None
    pue: float | None
    say: Say | None


class Run:
    """One run on disk. Its files are read when they are asked for, each time anew."""

    def __init__(self, folder: RunFolder, layout: Layout) -> None:
        self.folder = folder
        self._layout = layout

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.model} ({self.header.variant}), {self.state}, {self.header.coverage}>"

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.path.name

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def header(self) -> RunHeader:
        """`run.json`: the model, the data, the environment, the code and the device."""
        return self.folder.header

    @property
    def model(self) -> str:
        """The model's name."""
        return self.header.model

    @property
    def state(self) -> ObservedState:
        """`running`, `complete`, `failed`, `cancelled`, or `stopped` where the process is gone."""
        return self.folder.observe_state()

    @property
    def is_evaluated(self) -> bool:
        """Whether there are metrics."""
        return self.folder.metrics_path.exists()

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `metrics.json`: docs/architecture.md shows its shape.

        Raises:
            RecordError: the run is not evaluated, or the file is damaged.
        """
        metrics = read_metrics(self.folder)
        if metrics is None:
            raise RecordError(
                f"run {self.name} is not evaluated", hint=f"run.evaluate(), or admlops evaluate {self.name}"
            )
        return metrics

    @property
    def metrics(self) -> Metrics:
        """Every metric, with protocol, n and interval. Raises as `summary`."""
        return Metrics(metrics_of(self.summary), self.name)

    @property
    def records(self) -> Iterator[Record]:
        """The standard record of every sample, in the run's order, read one after the other.

        Raises:
            RecordError: a line is not a standard record; the message names file and line.
        """
        return self.folder.records()

    def to_frame(self, table: str = "samples", *, library: Library = "pandas") -> Any:
        """Return the records as a data frame: one row per sample, per detection or per map element.

        Args:
            table: `samples`, `detections` or `map_elements`; column names carry the units.
            library: `pandas` or `polars`.

        Raises:
            UsageError: there is no such table.
            MissingExtraError: the library is not installed; it is an ImportError, too.
        """
        if table not in TABLES:
            raise UsageError(f"there is no table {table!r}", hint=f"use one of: {', '.join(TABLES)}")
        columns, rows_of = TABLES[table]
        return make_frame(columns, (row for record in self.records for row in rows_of(record)), library=library)

    def data(self) -> RunData:
        """Return everything that reports and figures use of the run, read now."""
        return load_run_data(self.folder, model=find_known(self._layout, self.model))

    def evaluate(self, **options: Unpack[EvaluateOptions]) -> Run:
        """Evaluate the run and return it; the options are those of `admlops.evaluate`."""
        return evaluate(self, **options)

    def plot_scores(self, protocol: str | None = None) -> Figure | None:
        """As `admlops.plot_scores`, of this run alone."""
        from admlops.reports import plots

        return plots.plot_scores([self.data()], protocol)

    def plot_parts(self, by: str, protocol: str | None = None) -> Figure | None:
        """As `admlops.plot_parts`, of this run alone."""
        from admlops.reports import plots

        return plots.plot_parts([self.data()], by, protocol)

    def plot_precision_recall(self, task: str = "detection", threshold: float | None = None) -> Figure | None:
        """As `admlops.plot_precision_recall`, of this run alone."""
        from admlops.reports import plots

        return plots.plot_precision_recall([self.data()], task, threshold)

    def plot_latency(self) -> Figure | None:
        """As `admlops.plot_latency`, of this run alone."""
        from admlops.reports import plots

        return plots.plot_latency([self.data()])


AnyRun: TypeAlias = Run | str | Path
"""A run, its name, or the path of its folder."""


class RunningRun:
    """A run that goes on in a thread of its own: iterate over it for its events, `cancel` it, ask for its `result`.

    As a context manager it is cancelled if the block is left before its end.
    """

    def __init__(self, background: BackgroundRun, layout: Layout) -> None:
        self._background = background
        self._layout = layout

    def __iter__(self) -> Iterator[RunEvent]:
        """Yield the events from the beginning to the end of the run; the iteration ends with it."""
        return self._background.events()

    @property
    def is_done(self) -> bool:
        """Whether the run has ended, one way or the other."""
        return self._background.is_done

    @property
    def total(self) -> int | None:
        """The run's number of samples; None before it is known."""
        return self._background.total

    def cancel(self) -> None:
        """Ask the run to stop: whole scenes stay, and `resume=True` goes on."""
        self._background.cancel()

    def result(self, timeout_s: float | None = None) -> Run:
        """Wait for the end and return the run, whatever its state.

        Raises:
            AdmlopsError: it could not begin, or the disk is full.
            TimeoutError: it still goes on after `timeout_s`.
        """
        folder, _ = self._background.result(timeout_s)
        return Run(folder, self._layout)

    def __enter__(self) -> RunningRun:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_done:
            self.cancel()
            self._background.wait()


def open_run(name: str | Path) -> Run:
    """Open the run called `name` below the repository's `runs/`, or the run in the folder at the path `name`.

    Raises:
        RecordError: there is no such run; the message names the nearest one.
    """
    layout = find_layout()
    return Run(find_run(layout, str(name)), layout)


def list_runs() -> list[Run]:
    """Every readable run below the repository's `runs/`, oldest first."""
    layout = find_layout()
    return [Run(folder, layout) for folder in list_folders(layout)[0]]


def evaluate(
    run: AnyRun,
    *,
    data: str | Path | None = None,
    official: bool = False,
    boxes_2d: str | Path | None = None,
    protocols: Sequence[str] = (),
    where: str | None = None,
    rules: str | Path | None = None,
    country: str | None = None,
    intensity: float | None = None,
    pue: float | None = None,
    say: Say | None = None,
) -> Run:
    """Compute a run's official metrics, write its `metrics.json`, and return the run.

    Args:
        data: the data set's root, if it moved.
        official: run the official packages as well; needs a checkout.
        boxes_2d: a COCO file with ground truth of boxes in images.
        protocols: evaluate by these on-request protocols as well.
        where: evaluate only the samples for which this condition holds; the numbers go into a file below the run's
            `where/`, and `metrics.json` stays as it is.
        rules: a file of tags, for `where` and as slices of the results.
        country, intensity, pue: where the run's energy came from, for grams of CO2e: a code such as `FRA`, or the
            grid's kg CO2e/kWh, and the computing centre's power usage effectiveness.
        say: takes remarks, a line each.

    Raises:
        AdmlopsError: the data set is not there, or nothing of the run can be evaluated; as `evaluate_run`.
    """
    layout = find_layout()
    own = as_run(run)
    header = own.header
    own_rules = None if rules is None else Path(rules)
    opened = open_run_data(header.data, None if data is None else Path(data))
    with own.folder.lock():
        evaluate_run(
            own.folder,
            opened,
            layout=layout,
            say=say or _hush,
            official=official,
            truth_2d=None if boxes_2d is None else Path(boxes_2d),
            protocols=protocols,
            where=None if where is None else read_where(where, own_rules),
            rules=None if own_rules is None else read_rules(own_rules),
            carbon=choose_carbon(country, intensity, pue),
        )
        own.folder.write_manifest()
    return own


def compare(*runs: AnyRun) -> Comparison:
    """Compare evaluated runs over the same samples: every pair, by paired bootstrap over scenes.

    Raises:
        UsageError: fewer than two runs.
        RecordError: a run is not evaluated.
        ComparabilityError: samples or protocols differ; the message names both.
    """
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs or more", hint='admlops.compare("first", "second")')
    own = tuple(as_run(one) for one in runs)
    read = [read_evaluated(one.folder) for one in own]
    pairs = tuple(
        Pair(first=a.name, second=b.name, differences=tuple(compare_evaluated(a, b))) for a, b in combinations(read, 2)
    )
    return Comparison(runs=tuple(one.name for one in own), pairs=pairs)


def battle(first: AnyRun, second: AnyRun, *, metric: str | None = None) -> Battle:
    """Put two evaluated runs over the same samples against each other.

    `verdict` is `winner`, `tie`, `not decided` or `not comparable`, and `winner` names the model, or the run where both
    are of one model. `primary` says by which metric and with what interval, `further` judges speed, memory and energy.

    Args:
        metric: the primary metric, such as `AP50` or `nuscenes.detection_cvpr_2019/NDS`; None for the first headline
            that both have.

    Raises:
        RecordError: a run is not evaluated.
        UsageError: neither run has the metric; the hint names those that both have.
    """
    return battle_runs(as_run(first).folder, as_run(second).folder, metric=metric)


def run(
    model: str,
    *,
    on_event: OnEvent | None = None,
    say: Say | None = None,
    cancel: CancelToken | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Run a model over scenes, wait for the end, and return the run, whatever its state; needs a checkout.

    Ctrl-C, or a notebook's interrupt, stops it; whole scenes stay, and `resume=True` goes on.

    Args:
        on_event: called with each event and the run's number of samples, in this thread.
        say: takes remarks, a line each.
        cancel: setting it, from any thread, stops the run.
        options: as `start`.

    Raises:
        AdmlopsError: the model, the data, an option or the environment is wrong; a run that began loses nothing.
    """
    layout = find_layout()
    request = make_request(layout, model, options, cancel=cancel, say=say or _hush)
    return Run(run_model(layout, request, say=say or _hush, on_progress=on_event or _ignore)[0], layout)


def start(
    model: str, *, say: Say | None = None, cancel: CancelToken | None = None, **options: Unpack[RunOptions]
) -> RunningRun:
    """Begin a run in a thread of its own and return at once; needs a checkout.

    Args:
        say: takes remarks, a line each, from that thread.
        cancel: setting it, from any thread, stops the run; so does `RunningRun.cancel`.
        options: `data` (a root; by default the model's usual data set, synthetic scenes if there is none), `split`,
            `scenes`, `tokens` (a file), `limit`, `complete_scenes`, `shard` (such as `2/4`), `where` (a condition over
            samples) with `rules` (a file of more tags), and the fields of `RunRequest`: `RunOptions` lists them all.

    Raises:
        AdmlopsError: an option is wrong. What is found later is raised by `RunningRun.result`.
    """
    layout = find_layout()
    request = make_request(layout, model, options, cancel=cancel, say=say or _hush)
    return RunningRun(BackgroundRun(layout, request, say=say or _hush), layout)


def as_run(run: AnyRun) -> Run:
    """The run itself, or the one of that name or folder. Raises RecordError as `open_run`."""
    return run if isinstance(run, Run) else open_run(run)


def _hush(line: str) -> None:
    """Say nothing."""


def _ignore(event: RunEvent, total: int) -> None:
    """Do nothing."""
