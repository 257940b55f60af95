"""The runs' scores class by class: average precision, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from admlops.catalog.registries import EVALUATIONS
from admlops.pipeline.comparison_engines import confusions_of
from admlops.pipeline.run_data import RunData
from admlops.reports.page import number
from admlops.reports.summary import Cell, samples_of

ERROR_COLUMNS = {
    "trans_err": ("ATE", "m"),
    "scale_err": ("ASE", ""),
    "orient_err": ("AOE", "rad"),
    "vel_err": ("AVE", "m/s"),
    "attr_err": ("AAE", ""),
}
"""Name in metrics.json → the paper's name and unit."""

GROUND_TRUTH = "Ground truth"


@dataclass(frozen=True, kw_only=True)
class ClassColumn:
    """A column over classes; `number` is the run's place among the runs where a run has the column to itself."""

    name: str
    unit: str = ""
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Rows are classes. `label` names the run where the table is of one; `n` samples were evaluated."""

    protocol: str
    dataset: str
    n: int
    label: str
    columns: tuple[ClassColumn, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def is_empty(self, cells: Sequence[Cell]) -> bool:
        """Tell whether a class has no ground truth: its values say nothing."""
        names = [column.name for column in self.columns]
        return GROUND_TRUTH in names and cells[names.index(GROUND_TRUTH)].value == 0


@dataclass(frozen=True, kw_only=True)
class ClassGroup:
    """One protocol on one set of samples: the runs side by side where there are several, and each by threshold."""

    protocol: str
    dataset: str
    n: int
    side_by_side: ClassTable | None
    by_threshold: tuple[ClassTable, ...]


@dataclass(frozen=True, kw_only=True)
class ConfusionCell:
    """A count, the share that it is of its row or column, and what it says."""

    count: int
    share: float
    title: str
    is_right: bool = False


@dataclass(frozen=True, kw_only=True)
class ConfusionTable:
    """One run's matrix: a row for each true class with its missed, and a last row of false alarms."""

    label: str
    number: int
    n: int
    dataset: str
    distance_m: float
    classes: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[ConfusionCell, ...], ConfusionCell], ...]
    false_alarms: tuple[ConfusionCell, ...]


AnswerRow = tuple[str, int, tuple[ConfusionCell, ...]]
"""A true class, how often it was there, and how often each answer was given."""


@dataclass(frozen=True, kw_only=True)
class AnswerTable:
    """A classifier's matrix in one run: a row is a truth, a column an answer; `cameras` has those of each camera."""

    label: str
    number: int
    task: str
    judgements: int
    dataset: str
    classes: tuple[str, ...]
    rows: tuple[AnswerRow, ...]
    cameras: tuple[tuple[str, float, tuple[AnswerRow, ...]], ...]


def group_classes(ran: Sequence[tuple[str, RunData]]) -> list[ClassGroup]:
    """The tables of every task whose details have classes; `ran` are runs with their labels."""
    found: dict[tuple[str, str, str], list[tuple[int, str, RunData]]] = {}
    for index, (label, run) in enumerate(ran):
        for task, details in run.details.items():
            if any("ap" in own for own in details.get("classes", {}).values()):
                found.setdefault((task, _protocol_of(run, task), samples_of(run)), []).append((index, label, run))
    return [_group(task, protocol, dataset, runs) for (task, protocol, dataset), runs in found.items()]


def _group(task: str, protocol: str, dataset: str, runs: Sequence[tuple[int, str, RunData]]) -> ClassGroup:
    n = max((metric.n for _, _, run in runs for metric in run.measured if metric.protocol == protocol), default=0)
    own = [(index, label, run.details[task]["classes"]) for index, label, run in runs]
    return ClassGroup(
        protocol=protocol,
        dataset=dataset,
        n=n,
        side_by_side=_side_by_side(protocol, dataset, n, own) if len(own) > 1 else None,
        by_threshold=tuple(_by_threshold(protocol, dataset, n, label, classes) for _, label, classes in own),
    )


def _side_by_side(
    protocol: str, dataset: str, n: int, runs: Sequence[tuple[int, str, Mapping[str, Any]]]
) -> ClassTable:
    names = list(dict.fromkeys(name for _, _, classes in runs for name in classes))
    counts = {
        name: next((c[name]["ground_truth"] for _, _, c in runs if "ground_truth" in c.get(name, {})), None)
        for name in names
    }
    has_counts = any(count is not None for count in counts.values())
    rows = []
    for name in names:
        values = [_mean_ap(classes.get(name, {})) for _, _, classes in runs]
        known = [value for value in values if value is not None]
        best = max(known, default=None) if len(set(known)) > 1 else None
        cells = [Cell(text=number(value), value=value, is_best=value is not None and value == best) for value in values]
        first = [_count(counts[name])] if has_counts else []
        rows.append((name, (*first, *cells)))
    columns = [ClassColumn(name=GROUND_TRUTH)] if has_counts else []
    columns += [ClassColumn(name=label, number=index) for index, label, _ in runs]
    return ClassTable(protocol=protocol, dataset=dataset, n=n, label="", columns=tuple(columns), rows=tuple(rows))


def _by_threshold(protocol: str, dataset: str, n: int, label: str, classes: Mapping[str, Any]) -> ClassTable:
    thresholds = list(dict.fromkeys(at for own in classes.values() for at in own.get("ap", {})))
    errors = [name for name in ERROR_COLUMNS if any(name in own.get("errors", {}) for own in classes.values())]
    counts = [key for key in ("ground_truth", "predictions") if any(key in own for own in classes.values())]
    columns = [ClassColumn(name="AP")] if len(thresholds) != 1 else []
    columns += [ClassColumn(name=f"AP@{at}") for at in thresholds]
    columns += [ClassColumn(name=ERROR_COLUMNS[name][0], unit=ERROR_COLUMNS[name][1]) for name in errors]
    columns += [ClassColumn(name={"ground_truth": GROUND_TRUTH, "predictions": "Predictions"}[key]) for key in counts]
    rows = []
    for name, own in classes.items():
        values = [_mean_ap(own)] if len(thresholds) != 1 else []
        values += [own.get("ap", {}).get(at) for at in thresholds]
        values += [own.get("errors", {}).get(error) for error in errors]
        cells = [Cell(text=number(value), value=value) for value in values]
        rows.append((name, (*cells, *(_count(own.get(key)) for key in counts))))
    return ClassTable(protocol=protocol, dataset=dataset, n=n, label=label, columns=tuple(columns), rows=tuple(rows))


def _count(value: int | None) -> Cell:
    return Cell(text=number(value, digits=0), value=value)


def _mean_ap(own: Mapping[str, Any]) -> float | None:
    """The class's AP: as the evaluation says, or the mean over its thresholds."""
    if "mean_ap" in own:
        return own["mean_ap"]  # type: ignore[no-any-return]
    values = [value for value in own.get("ap", {}).values() if value is not None]
    return sum(values) / len(values) if values else None


def _protocol_of(run: RunData, task: str) -> str:
    """The protocol of a task's values, with the suffix it has where other conditions held."""
    entry = next((one for one in EVALUATIONS.values() if one.id == task), None)
    if entry is None:
        return task
    own = (metric.protocol for metric in run.measured if metric.protocol.startswith(entry.protocol))
    return next(own, entry.protocol)


def list_confusions(ran: Sequence[tuple[str, RunData]]) -> list[ConfusionTable]:
    """The matrix of every run that was evaluated with one; all show the classes that any of them has."""
    having = [
        (label, index, run, own)
        for index, (label, run) in enumerate(ran)
        for own in [(run.metrics or {}).get("confusion", {}).get("detection")]
        if own
    ]
    shown = {name for *_, own in having for name in _present(own)}
    return [_confusion(label, index, run, own, shown) for label, index, run, own in having]


def list_answers(ran: Sequence[tuple[str, RunData]]) -> list[AnswerTable]:
    """The matrix of every classification in a run, in all and by camera."""
    return [
        AnswerTable(
            label=label,
            number=index,
            task=task,
            judgements=sum(map(sum, own["matrix"])),
            dataset=samples_of(run),
            classes=tuple(own["classes"]),
            rows=_answer_rows(own["classes"], own["matrix"]),
            cameras=tuple(
                (camera, one["accuracy"], _answer_rows(own["classes"], one["confusion"]))
                for camera, one in run.details[task].get("by_camera", {}).items()
            ),
        )
        for index, (label, run) in enumerate(ran)
        for task, own in confusions_of(run.metrics or {}).items()
    ]


def _answer_rows(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> tuple[AnswerRow, ...]:
    return tuple(
        (
            truth,
            sum(row),
            tuple(
                _cell(count, sum(row), f"{truth} called {said}", truth == said)
                for said, count in zip(classes, row, strict=True)
            ),
        )
        for truth, row in zip(classes, matrix, strict=True)
    )


def _present(own: Mapping[str, Any]) -> list[str]:
    """The classes that are there or predicted."""
    matrix, missed, wrong = own["matrix"], own["missed"], own["false_alarms"]
    counts = [sum(matrix[i]) + sum(row[i] for row in matrix) + missed[i] + wrong[i] for i in range(len(missed))]
    return [name for name, count in zip(own["classes"], counts, strict=True) if count]


def _confusion(label: str, index: int, run: RunData, own: Mapping[str, Any], shown: Set[str]) -> ConfusionTable:
    matrix, missed, wrong = own["matrix"], own["missed"], own["false_alarms"]
    columns = [sum(row[i] for row in matrix) + wrong[i] for i in range(len(wrong))]
    kept = [i for i, name in enumerate(own["classes"]) if name in shown]
    names = [own["classes"][i] for i in kept]

    def rows() -> Iterator[tuple[str, int, tuple[ConfusionCell, ...], ConfusionCell]]:
        for i, name in zip(kept, names, strict=True):
            total = sum(matrix[i]) + missed[i]
            cells = tuple(
                _cell(matrix[i][j], total, f"{name} taken for {other}" if i != j else f"{name} found", i == j)
                for j, other in zip(kept, names, strict=True)
            )
            yield name, total, cells, _cell(missed[i], total, f"{name} missed")

    return ConfusionTable(
        label=label,
        number=index,
        n=len(run.samples),
        dataset=samples_of(run),
        distance_m=own["match_distance_m"],
        classes=tuple(names),
        rows=tuple(rows()),
        false_alarms=tuple(_cell(wrong[j], columns[j], f"{own['classes'][j]} where there is nothing") for j in kept),
    )


def _cell(count: int, total: int, what: str, is_right: bool = False) -> ConfusionCell:
    share = count / total if total else 0.0
    return ConfusionCell(count=count, share=share, title=f"{what}: {count} of {total}", is_right=is_right)
