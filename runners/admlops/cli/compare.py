"""`admlops compare`: models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.carbon import carbon_options, take_carbon
from admlops.cli.completion import complete_model_lists
from admlops.cli.conventions import dry_run_option, note, say, with_format
from admlops.cli.detach import detach_option
from admlops.cli.options import DATA, selection_options
from admlops.cli.out_paths import OUT_FOLDER

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.pipeline.compare import Comparison
    from admlops.results.run_folder import RunFolder


@click.command(epilog="Example: admlops compare --models MapTR,PETR --data DIR --split mini_val")
@click.option(
    "--models",
    "names",
    multiple=True,
    required=True,
    metavar="A,B,…",
    shell_complete=complete_model_lists,
    help="Names of the catalogue, also with an engine as in MapTR@onnx or with weights as in MapTR:mine, or all "
    "(may repeat).",
)
@selection_options
@click.option(
    "--together", is_flag=True, help="Run as many models at once as have room; --gpu-memory-limit is then of all."
)
@click.option("--fresh", is_flag=True, help="Run every model again, even where a finished run would do.")
@click.option("--random-weights", is_flag=True, help="Run models whose weights are missing with random ones.")
@click.option("--also", type=DATA, help="A second data set, for models that --data is not for.")
@click.option("--metric", help="Primary metric of the battles, such as AP50.  [default: the first that both have]")
@click.option("--submission", "submissions", multiple=True, metavar="RUN", help="A run of a results file (may repeat).")
@click.option("--out", type=OUT_FOLDER, help="Folder for the summary and the report.")
@carbon_options
@detach_option
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def compare(
    names: tuple[str, ...],
    together: bool,
    fresh: bool,
    random_weights: bool,
    also: Path | None,
    metric: str | None,
    submissions: tuple[str, ...],
    out: Path | None,
    detach: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run what is missing, evaluate, and put models side by side.

    Writes comparison_summary.json and report.html. Scores are ranked only within one protocol on the same samples.
    Every two models also battle: by --metric one wins, they tie, or it is not decided; admlops battle says it for two.
    --submission puts results made elsewhere beside the models: admlops evaluate FILE makes a run of each.
    With --together models run at once as far as memory and cores allow; their times are then shared, and not ranked.
    The table says of each model whether it is ready, degraded (random weights, failed samples, or CPU only) or failed.
    """
    from admlops.cli.detach import announcer, start_again, take_folder
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.pipeline.battle import check_metric
    from admlops.pipeline.compare import compare_models

    carbon = take_carbon(options)
    check_metric(metric)
    layout = find_layout()
    chosen = _choose_models(layout, names)
    given = find_submissions(layout, submissions)
    target = out or layout.repository / "comparisons" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if dry_run:
        from admlops.cli.dry_run import show_plan
        from admlops.pipeline.preview import preview_comparison

        request = make_request(layout, model=chosen[0], options=options)
        steps = preview_comparison(
            layout, chosen, request, target=target, fresh=fresh, random_weights=random_weights, also=also
        )
        show_plan(steps, as_json=as_json)
        return
    detached = take_folder()
    if detach and detached is None:
        start_again(layout, as_json=as_json)
        return
    with cancel_on_signals() as cancel:
        done = compare_models(
            layout,
            chosen,
            make_request(layout, model=chosen[0], options=options, on_begin=announcer(detached), cancel=cancel),
            target=target,
            fresh=fresh,
            say=say,
            show_progress=show_progress,
            random_weights=random_weights,
            also=also,
            submissions=given,
            metric=metric,
            carbon=carbon,
            together=together,
        )
    show_comparison(done, as_json=as_json)


def _choose_models(layout: Layout, names: Sequence[str]) -> list[str]:
    """Return the models that `--models` names, each once; `all` names every one. Raises UsageError for none."""
    from admlops.catalog import list_models
    from admlops.core.errors import UsageError

    named = [name.strip() for text in names for name in text.split(",") if name.strip()]
    chosen = list_models(layout) if "all" in named else list(dict.fromkeys(named))
    if not chosen:
        raise UsageError("--models names no model", hint="admlops models list   # then pass --models A,B")
    return chosen


def find_submissions(layout: Layout, names: Sequence[str]) -> list[RunFolder]:
    """Find the runs of results files. Raises UsageError: one is a model's run."""
    from admlops.core.errors import UsageError
    from admlops.results.runs import find_run

    runs = [find_run(layout, name) for name in dict.fromkeys(names)]
    other = next((run.header for run in runs if not run.header.is_submission), None)
    if other is not None:
        raise UsageError(
            f"--submission {other.run} is a run of the model {other.model}, and of no results file",
            hint=f"name the model: --models {other.model}",
        )
    return runs


def show_comparison(done: Comparison, *, as_json: bool) -> None:
    """Write the page of a comparison beside its summary, and print the summary as a table or as JSON.

    Raises:
        RunFailedError: a model that was set up failed, wholly or on some samples.
        EnvError: no model ran.
    """
    from admlops.reports import write_report

    target = done.summary_path.with_name("report.html")
    page = write_report(target, done.run_data(), done.summary, data=done.data[0], also=done.data[1:])
    if as_json:
        click.echo(json.dumps(done.summary, indent=2))
    else:
        _print_summary(done.summary)
        note(f"\nsummary: {done.summary_path}\nreport:  {page}")
    _raise_for(done)


def _raise_for(done: Comparison) -> None:
    """Return if every model that is set up ran on all samples; else raise the error that says what did not."""
    from admlops.core.errors import EnvError, RunFailedError

    failed = [row.name for row in done.rows if row.failed]
    if failed:
        raise RunFailedError(f"failed: {', '.join(failed)}", hint=f"less {done.summary_path}   # says why")
    incomplete = [row["model"] for row in done.summary["models"] if row.get("failures")]
    if incomplete:
        hint = f"admlops doctor {next(row['run'] for row in done.summary['models'] if row.get('failures'))}"
        raise RunFailedError(f"samples failed: {', '.join(incomplete)}", hint=hint)
    if all(row.run is None for row in done.rows):
        raise EnvError("no model ran", hint=done.rows[0].hint)


def _print_summary(summary: Mapping[str, Any]) -> None:
    """One table of short cells; then a line for each model that is not ready, whole, so that its command can be copied.

    A score stands in a column of its protocol and its samples: numbers over other samples get a column of their own.
    """
    from admlops.cli.tables import print_table

    models = summary["models"]
    columns = _find_columns(models)
    rows = []
    for model in models:
        latency = model.get("latency") or {}
        scores = _scores(model)
        rows.append(
            (
                model["model"],
                model["state"],
                _count_samples(model),
                *(_score(scores, key) for key in columns.values()),
                _milliseconds(latency),
                _pictures(latency),
                model.get("precision") or "",
                "SHARED" if latency.get("shared") else latency.get("verdict", ""),
            )
        )
    print_table(("model", "state", "samples", *columns, "ms/sample", "pictures/s", "precision", "latency"), rows)
    _note_precisions(models)
    shared = [model["model"] for model in models if (model.get("latency") or {}).get("shared")]
    if shared:
        note(f"\ntimes of {', '.join(shared)} are those of a shared device, and no latency: --fresh measures one")
    lines = [f"{model['model']}: {model['why']}" for model in models if model["why"]]
    if lines:
        note("\n" + "\n".join(lines))
    engines = summary.get("engines", ())
    print_engines(engines)
    shown = {one["name"] for group in engines for one in group["engines"]}
    for model in models:
        if model["model"] not in shown:
            _print_confusions(model["model"], model.get("confusion") or {})
    print_battles(summary.get("battles", ()))


def _note_precisions(models: Sequence[Mapping[str, Any]]) -> None:
    """Say that times of several precisions do not compare; an engine's is its file's, and no option changes it."""
    if len({model.get("precision") for model in models} - {None}) < 2:
        return
    by_pytorch = {model.get("precision") for model in models if not model.get("engine")} - {None}
    cure = "; --precision float32 gives all models the same" if len(by_pytorch) > 1 else ""
    note(f"\ntimes compare only within one precision{cure}")


def print_engines(groups: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of each model that ran by several engines or weights, and how often every two of them agree."""
    from admlops.cli.tables import print_table

    for group in groups:
        weights = len({one["checkpoint"] for one in group["engines"]} - {None}) > 1
        what = "weights" if weights else "engines"
        note(f"\n{what} of {group['model']}, {group['samples']} samples")
        times = ("min_ms", "max_ms", "mean_ms", "median_ms", "p95_ms", "p99_ms")
        rows = [_engine_cells(one, times) for one in group["engines"]]
        print_table((what, "file MB", "peak MB", *(name.removesuffix("_ms") + " ms" for name in times)), rows)
        for one in group["agreement"]:
            note(f"\nagreement, {one['task']}: share of {one['measure']}")
            shares = [tuple(_number(share) for share in row) for row in one["shares"]]
            print_table(("", *one["names"]), [(name, *row) for name, row in zip(one["names"], shares, strict=True)])
        for one in group["engines"]:
            _print_confusions(one["name"], one["confusion"])


def _print_confusions(name: str, confusions: Mapping[str, Any]) -> None:
    """Print the confusion matrix of each task that a model classifies in."""
    from admlops.cli.tables import print_table

    for task, own in confusions.items():
        note(f"\nconfusion of {name}, {task}: rows are truths, columns answers")
        matrix = [(label, *map(str, row)) for label, row in zip(own["classes"], own["matrix"], strict=True)]
        print_table(("", *own["classes"]), matrix)


def _engine_cells(one: Mapping[str, Any], times: Sequence[str]) -> tuple[str, ...]:
    memory = one["memory"]
    peak = memory["gpu_peak_mb"] or memory["worker_peak_mb"]
    size = "" if one["file_bytes"] is None else f"{one['file_bytes'] / 1e6:.1f}"
    spelled = ["" if one["latency"][name] is None else f"{one['latency'][name]:.1f}" for name in times]
    return one["name"], size, "" if peak is None else f"{peak:.0f}", *spelled


def print_battles(battles: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per battle: who, by which metric, and the verdict."""
    if not battles:
        return
    note("\nbattles, each by its primary metric")
    for battle in battles:
        first, second = battle["models"]
        metric = battle["primary"]["metric"]
        by = f" by {metric}" if metric else ""
        outcome = f"{battle['winner']} wins" if battle["verdict"] == "winner" else battle["verdict"]
        note(f"  {first} : {second}{by}: {outcome}; {battle['reason']}")


def _find_columns(models: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str, str]]:
    """The heading of each column → protocol, metric and samples; a heading says n where samples differ."""
    from admlops.catalog.protocols import headlines_of

    scores = {key: model["samples"] for model in models for key in _scores(model)}
    columns: dict[str, tuple[str, str, str]] = {}
    for protocol in dict.fromkeys(key[0] for key in scores):
        for metric, heading in headlines_of(protocol).items():
            samples = {key[2]: n for key, n in scores.items() if key[:2] == (protocol, metric)}
            for digest, count in samples.items():
                name = heading if len(samples) == 1 else f"{heading}, n={count}"
                columns[name if name not in columns else f"{name} ({digest[:6]})"] = (protocol, metric, digest)
    return columns


def _count_samples(model: Mapping[str, Any]) -> str:
    """`12`, or `12 (6 failed)`; empty for a model that did not run."""
    failed = sum((model.get("failures") or {}).values())
    count = model.get("samples")
    return "" if count is None else f"{count} ({failed} failed)" if failed else str(count)


def _scores(model: Mapping[str, Any]) -> dict[tuple[str, str, str], float | None]:
    """A model's scores by protocol, name and samples; none where the weights are random."""
    judged = () if model.get("random_weights") else model.get("metrics", ())
    return {(metric["protocol"], metric["name"], model["samples_sha256"]): metric["value"] for metric in judged}


def _score(scores: Mapping[tuple[str, str, str], float | None], key: tuple[str, str, str]) -> str:
    """A score; n/a where the model was judged on these samples and this number does not apply to it."""
    is_judged = any(own[2] == key[2] for own in scores)
    return "n/a" if is_judged and scores.get(key) is None else _number(scores.get(key))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _pictures(latency: dict[str, Any]) -> str:
    """Return the rate, and the batch size if several samples were done at once."""
    stated = latency.get("throughput") or {}
    rate, batch = stated.get("pictures_per_s"), stated.get("batch", 1)
    return "" if rate is None else f"{rate:.3g}" if batch == 1 else f"{rate:.3g} (batches of {batch})"


def _milliseconds(latency: dict[str, Any]) -> str:
    """Return the mean time; empty if it is no latency, because several workers shared the device."""
    mean_s = (latency.get("inference") or {}).get("mean_s")
    return "" if mean_s is None else f"{1e3 * mean_s:.1f}" if mean_s >= 0.01 else f"{1e3 * mean_s:.2g}"
