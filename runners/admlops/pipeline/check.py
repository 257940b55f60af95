"""Check that models work here: one model step by step, from its sources to its report, or all of them side by side."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from admlops.catalog import Model, list_models, load_model
from admlops.core.counting import count_of
from admlops.core.errors import AdmlopsError, DataError, EnvError, RunFailedError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Planned, Say, Watch
from admlops.datasets.base import Dataset, find_kind
from admlops.deployment.engines import parse_engine
from admlops.environments.integrity import verification
from admlops.environments.inventory import InstalledEnvironment, locked_base, locked_python, select
from admlops.environments.probing import probe
from admlops.evaluation.evaluate import evaluate_run
from admlops.execution.deadlines import DEFAULT_DEADLINES
from admlops.execution.scene_job import Summary
from admlops.health.machine import describe_machine
from admlops.pipeline.artifact_choice import list_plain_variants
from admlops.pipeline.compare import RANDOM_WEIGHTS
from admlops.pipeline.comparison_runs import ShowProgress
from admlops.pipeline.default_data import ensure_data, lacks_weights, plan_data
from admlops.pipeline.export import ExportRequest, export_model
from admlops.pipeline.preview import preview_run
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.run import run_model
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.pipeline.run_engine import engine_for
from admlops.pipeline.run_request import RunRequest
from admlops.results.data_set import open_run_data
from admlops.results.run_folder import RunFolder
from admlops.sources.checkouts import find_problems, list_sources
from admlops.worker.network import FILE_NAME
from admlops.worker.write_precision import INT8

SAMPLES = 2
"""How many samples a network is tried on: enough to see that it works, and a minute's work without a GPU."""
CPU_CALL_S = 1800.0
"""What one sample of a network may take on a CPU that others use too [s]."""
SHOWN_DIFFERENCES = 5

MakeRequest = Callable[[str, Path], RunRequest]
"""The user's options as a request, for a model's name and the root of the data set that was chosen."""
Draw = Callable[[Path, RunData, Dataset], Path]
"""Writes the page of a run to a path and returns it."""
Hashing = Callable[[str], AbstractContextManager[Watch | None]]
"""Shows how far the hashing of an environment is."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was looked at, and what was found."""

    name: str
    ok: bool
    said: str


@dataclass(kw_only=True)
class Checked:
    """What a check of one model found. `error` is what stopped it; None if the model works."""

    model: str
    steps: list[Step] = field(default_factory=list)
    run: str | None = None
    random_weights: bool = False
    report: Path | None = None
    error: AdmlopsError | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        error = self.error
        return {
            "model": self.model,
            "works": error is None,
            "steps": [{"step": one.name, "ok": one.ok, "said": one.said} for one in self.steps],
            "run": self.run,
            "random_weights": self.random_weights,
            "report": None if self.report is None else str(self.report),
            "error": None if error is None else {"message": error.message, "hint": error.hint},
        }


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What all models are tried on: the data set, one of another kind for those that need it, how many samples."""

    data: Path
    also: Path | None
    limit: int | None


def plan_comparison(
    layout: Layout, names: Sequence[str], *, data: Path | None, also: Path | None, device: str = "auto", say: Say
) -> ComparisonPlan:
    """Choose the data for a comparison of `names`: `data` if it is named, else nuScenes, real or synthetic.

    Models that read another kind get `also`, or the data set of that kind, real or synthetic. Without a GPU, networks
    run on the first two samples only.

    Raises:
        CatalogError: there is no model of that name.
        AdmlopsError: no data set is there, and none can be made.
    """
    models = [load_model(layout, name) for name in names]
    networks = networks_here(layout, models)
    chosen = data or ensure_data(layout, "nuscenes", say=say)
    can_run = [*networks, *(model for model in models if not model.traits.needs_setup)]
    own_kind = find_kind(chosen).id
    others = [model.reads[0] for model in can_run if own_kind not in model.reads]
    second = also or next((ensure_data(layout, kind, say=say) for kind in others), None)
    return ComparisonPlan(data=chosen, also=second, limit=SAMPLES if networks and _on_cpu(device) else None)


def preview_check(
    layout: Layout, names: Sequence[str], *, make_request: MakeRequest, data: Path | None, also: Path | None
) -> list[Planned]:
    """Say what a check of these models would run; without names, what a comparison of all would build and run.

    Raises:
        AdmlopsError: a name or the data set is wrong.
    """
    steps: dict[str, Planned] = {}
    for model in (load_model(layout, name) for name in names or list_models(layout)):
        readiness = find_readiness(layout, model, weights=False)
        is_built = not names and not model.traits.needs_setup and readiness.lacks == "environment"
        if not (readiness.ready or is_built):
            steps[model.name] = Planned(action="leave out", target=model.name, detail=str(readiness))
            continue
        own = next((one for one in (data, also) if one is not None and _is_read(one, model)), data)
        root, made = (own, None) if own is not None else plan_data(layout, model.reads[0])
        if made is not None:
            steps[str(root)] = made
            steps[model.name] = Planned(action="run", target=model.name, detail=f"on {root}")
            continue
        for step in preview_run(layout, _as_asked(layout, model, make_request(model.name, root)), say=_unsaid):
            steps[f"{model.name} {step.action} {step.target}"] = step
    return list(steps.values())


def _is_read(root: Path, model: Model) -> bool:
    """Tell whether a data set is of a kind that the model reads, or can be read as one."""
    return find_kind(root, model.reads).id in model.reads


def names_file(engine: str | None) -> bool:
    """Tell whether an engine is an exported file, which has weights of its own. Raises UsageError: it is none."""
    return engine is not None and parse_engine(engine).file is not None


def require_exportable(model: Model, engine: str | None, variant: str | None) -> None:
    """Refuse an engine whose file no check of the model can export on the way, before minutes of work.

    Raises:
        UsageError: it is int8, whose ranges come from samples that a check does not have; or the variant has no
            PyTorch to export from.
    """
    if engine_for(model, engine) is None or names_file(engine) or not (model.folder / FILE_NAME).is_file():
        return
    if parse_engine(str(engine)).precision == INT8:
        raise UsageError(
            f"--engine {engine}: int8 takes its ranges from samples, and a check has none for that",
            hint=f"admlops export {model.name} --precision int8 --calibrate train --data DIR   # then check that file: "
            "--engine FILE.onnx",
        )
    chosen = variant or model.default_variant
    if chosen in list_plain_variants(model):
        raise UsageError(
            f"{model.name}'s variant {chosen} has no PyTorch, so a check exports nothing of it for --engine {engine}",
            hint=f"admlops check {model.name} --engine {engine}   # or name an exported file: --engine FILE.onnx",
        )


def _as_asked(layout: Layout, model: Model, request: RunRequest) -> RunRequest:
    """Return the request with random weights if the model's own are missing, as a check takes them."""
    if names_file(request.engine) and request.variant in list_plain_variants(model):
        return request
    request = replace(request, engine=None)  # what it runs is exported on the way
    return replace(request, weights=RANDOM_WEIGHTS) if _runs_on_random_weights(layout, model) else request


def _runs_on_random_weights(layout: Layout, model: Model) -> bool:
    """Tell whether its own weights are missing, and random ones would do."""
    return model.traits.needs_weights and lacks_weights(layout, model)


def _unsaid(_: str) -> None:
    """Say nothing."""


def networks_here(layout: Layout, models: Iterable[Model]) -> list[Model]:
    """List the models that need set-up and have it, so that they can run here, if only with random weights."""
    networks = (model for model in models if model.traits.needs_setup)
    return [model for model in networks if find_readiness(layout, model, weights=False).ready]


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """What to check.

    Attributes:
        make_request: makes the run's request out of the user's options.
        draw: writes the page of the run.
        engine: what executes the network, as `--engine`; None for PyTorch itself.
        variant: the model's default one if None.
        data: a root of a kind that the model reads; the usual one if None.
        full: hash every file of the environment.
    """

    model: str
    make_request: MakeRequest
    draw: Draw
    variant: str | None = None
    data: Path | None = None
    full: bool = False
    engine: str | None = None


def check_model(
    layout: Layout, request: CheckRequest, *, say: Say, show_progress: ShowProgress, hashing: Hashing
) -> Checked:
    """Check one model from its sources to its report, and stop at the first step that fails.

    Raises:
        CatalogError: there is no such model, or its `model.toml` is wrong.
    """
    return _Check(layout, request, say, show_progress, hashing).go()


class _Check:
    """The steps of one check, in order; a later one uses what an earlier one found."""

    def __init__(
        self, layout: Layout, request: CheckRequest, say: Say, show_progress: ShowProgress, hashing: Hashing
    ) -> None:
        self.layout, self.request = layout, request
        self.say, self.show_progress, self.hashing = say, show_progress, hashing
        self.model = load_model(layout, request.model)
        self.checked = Checked(model=self.model.name)
        self.engine = engine_for(self.model, request.engine)
        if self.engine != request.engine:
            say(f"{self.model.name}: its adapter executes the network by {self.model.runtime} already: no export")

    def go(self) -> Checked:
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("sources", self.verify_sources),
            ("environment", self.verify_environment),
            ("probe", self.probe_environment),
            ("adapter", self.find_adapter),
            ("data", self.choose_data),
            ("export", self.export),
            ("run", self.run_samples),
            ("evaluation", self.evaluate),
            ("report", self.draw),
        )
        for name, look in steps:
            if name == "export" and self.engine is None:
                continue
            try:
                said = look()
            except AdmlopsError as error:
                self.checked.steps.append(Step(name=name, ok=False, said=error.message))
                self.checked.error = error
                break
            self.checked.steps.append(Step(name=name, ok=True, said=said))
            self.say(f"{self.model.name}: {name}: {said}")
        return self.checked

    def verify_sources(self) -> str:
        sources = list_sources(self.layout, [self.model])
        problems = [f"{one.folder}: {problem}" for one in sources for problem in find_problems(self.layout, one)]
        if problems:
            raise EnvError("\n".join(problems), hint=f"admlops sources fetch {self.model.name}")
        return f"{', '.join(one.folder for one in sources)} as pinned" if sources else "they are the project's own"

    def verify_environment(self) -> str:
        chosen = self.request.variant or self.model.default_variant
        if chosen not in self.model.variants:
            find_readiness(self.layout, self.model, chosen)  # names the variants that there are
        self.installed = select(self.layout, [self.model.name], variant=chosen)
        return "; ".join([self._verify(one) for one in self.installed])

    def _verify(self, one: InstalledEnvironment) -> str:
        name = one.prefix.name
        if one.state != "ready":
            option = f" --variant {self.request.variant}" if self.request.variant else ""
            raise EnvError(f"{name}: its state is {one.state}", hint=f"admlops env install {self.model.name}{option}")
        with self.hashing(name) as watch:
            report = verification.verify(
                one.prefix,
                full=self.request.full,
                base=locked_base(one),
                python=locked_python(one),
                watch=watch,
            )
        if not report.clean:
            shown = [f"{one.path} {one.reason}" for one in report.differences[:SHOWN_DIFFERENCES]]
            listed = "\n".join([f"{name}: {len(report.differences)} differences", *shown])
            raise EnvError(listed, hint=f"admlops env repair {name}")
        held = f"{count_of(report.files_checked, 'file')} of {count_of(report.packages, 'package')}"
        return f"{name} as its packages and lock say ({held})"

    def probe_environment(self) -> str:
        said = []
        for one in self.installed:
            checks = probe(one)
            said.append(f"{len(checks)} checks passed in {sum(check['seconds'] for check in checks):.1f} s")
        return "; ".join(said)

    def find_adapter(self) -> str:
        if not self.model.adapter.is_file():
            raise EnvError(
                f"{self.model.name} has no adapter yet ({self.model.adapter}): its sources and environment are right, "
                "but nothing can run it",
                hint="write demo.py as docs/adding-a-model.md says, or try: admlops check GroundPlane",
            )
        return str(self.model.adapter)

    def choose_data(self) -> str:
        self.data = self.request.data or ensure_data(self.layout, self.model.reads[0], say=self.say)
        return str(self.data)

    def export(self) -> str:
        """Export the network that the engine asks for, unless a file was named or it was exported before."""
        engine = parse_engine(str(self.engine))
        if engine.file is not None:
            return f"{engine.file}, as it is"
        asked = ExportRequest(run=replace(self._run_request(), engine=None), precision=engine.precision)
        return export_model(self.layout, asked, say=self.say).name

    def run_samples(self) -> str:
        request = self._run_request()
        with self.show_progress() as watch:
            self.run, summary = run_model(self.layout, request, say=self.say, on_progress=watch)
        self.checked.run = self.run.header.run
        _raise_for(summary, self.run)
        note = ", with random weights: the results mean nothing" if self.checked.random_weights else ""
        return f"{count_of(summary.ok, 'sample')} ok{note} ({self.checked.run})"

    def _run_request(self) -> RunRequest:
        """The user's request on the first samples; a network on a CPU gets more time, unless a limit was given."""
        asked = replace(self.request.make_request(self.model.name, self.data), engine=self.engine)
        changes: dict[str, Any] = {"name": f"check-{self.model.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"}
        changes["name"] += f"-{secrets.token_hex(2)}"
        if asked.selection.limit is None:
            changes["selection"] = replace(asked.selection, limit=SAMPLES)
        if _runs_on_random_weights(self.layout, self.model) and not names_file(asked.engine):
            self.say(f"{self.model.name}: its weights are not fetched: random ones take their place")
            changes["weights"] = RANDOM_WEIGHTS
            self.checked.random_weights = True
        if asked.deadlines == DEFAULT_DEADLINES and self.model.traits.made_for_gpu and _on_cpu(asked.device):
            changes["deadlines"] = replace(DEFAULT_DEADLINES, call_s=CPU_CALL_S)
        return replace(asked, **changes)

    def evaluate(self) -> str:
        """Evaluate what can be: two samples without a map or annotations are no fault of the model's."""
        self.opened: Dataset = open_run_data(self.run.header.data)
        try:
            with self.run.lock():
                metrics = evaluate_run(self.run, self.opened, layout=self.layout, say=self.say)
                self.run.write_manifest()
        except AdmlopsError as error:
            return f"not evaluated: {error.message}"
        return count_of(len(metrics["metrics"]), "metric")

    def draw(self) -> str:
        loaded = load_run_data(self.run, model=self.model)
        self.checked.report = self.request.draw(self.run.report_path, loaded, self.opened)
        with self.run.lock():
            self.run.write_manifest()
        return str(self.checked.report)


def _raise_for(summary: Summary, run: RunFolder) -> None:
    """Return if every sample is there; else raise what stopped or failed: DataError if the data are at fault."""
    trouble = summary.stopped_by or next(iter(summary.failures), None)
    if summary.state == "complete" and not summary.failed:
        return
    kind = DataError if trouble is not None and trouble.kind == "data" else RunFailedError
    counted = f"{run.header.run} ended {summary.state}, {count_of(summary.ok, 'sample')} ok, {summary.failed} failed"
    if trouble is None:
        raise kind(counted, hint=f"admlops doctor {run.header.run}")
    raise kind(f"{counted} ({trouble.kind}): {trouble.summary}", hint=trouble.hint)


def _on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not describe_machine()["gpus"]["devices"])
