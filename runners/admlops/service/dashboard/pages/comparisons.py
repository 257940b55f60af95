"""Comparisons with their battles, and two runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from admlops.core.errors import AdmlopsError, RecordError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.battle import Battle
from admlops.evaluation.statistics.paired_bootstrap import Difference, compare_metric, read_evaluated
from admlops.pipeline.battle import battle_runs
from admlops.results.run_folder import RunFolder
from admlops.service.dashboard import results_query
from admlops.service.dashboard.filling import Filler
from admlops.service.dashboard.pages.missing import show_missing
from admlops.service.dashboard.pages.runs import NAME, REPORT_HEADERS, read_page
from admlops.service.dashboard.rendering import show
from admlops.service.dashboard.site import Site

GONE = "Look among all comparisons"


class ComparisonPages:
    """Pages that set models or runs against each other."""

    def __init__(self, site: Site, filler: Filler) -> None:
        self._site = site
        self._filler = filler

    async def list(self, request: Request) -> Response:
        """List comparisons and who won."""
        page = read_page(request)
        rows, total = await run_in_threadpool(results_query.list_comparisons, self._site.database, page=page)
        values = {
            "comparisons": rows,
            "total": total,
            "page": page,
            "pages": -(-total // results_query.PAGE),
            "names": await run_in_threadpool(results_query.list_names, self._site.database, evaluated=True),
            "a": "",
            "b": "",
        }
        return await show(request, "comparisons.html", values)

    async def comparison(self, request: Request) -> Response:
        """Show a comparison."""
        name = request.path_params["comparison"]
        found = await run_in_threadpool(results_query.get_comparison, self._site.database, name)
        if found is None and NAME.fullmatch(name):
            await self._filler.fill_for(self._site.layout.repository / "comparisons" / name)
            found = await run_in_threadpool(results_query.get_comparison, self._site.database, name)
        if found is None:
            return await show_missing(request, "comparison", name, "/comparisons", GONE)
        row, results = found
        battles = [
            {**one, "further": [other for other in results if other["question"] != "score" and _same(one, other)]}
            for one in results
            if one["question"] == "score"
        ]
        report = self._site.layout.repository / "comparisons" / name / "report.html"
        return await show(
            request, "comparison.html", {"row": row, "battles": battles, "name": name, "has_report": report.is_file()}
        )

    async def report(self, request: Request) -> Response:
        """Give a comparison's report, which may do nothing but show itself."""
        name = request.path_params["comparison"]
        path = self._site.layout.repository / "comparisons" / name / "report.html"
        if not NAME.fullmatch(name) or not path.is_file():
            return await show_missing(request, "report of", name, "/comparisons", GONE)
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    async def side_by_side(self, request: Request) -> Response:
        """Show two runs side by side."""
        names = [request.query_params.get(key, "") for key in ("a", "b")]
        values: dict[str, Any] = {
            "a": names[0],
            "b": names[1],
            "names": await run_in_threadpool(results_query.list_names, self._site.database),
            "pair": None,
            "problem": None,
        }
        if all(names):
            try:
                values["pair"] = await run_in_threadpool(read_pair, self._site, *names)
            except AdmlopsError as error:
                values["problem"] = error
        return await show(request, "side_by_side.html", values)


def _same(one: results_query.Row, other: results_query.Row) -> bool:
    return (one["model_a"], one["model_b"]) == (other["model_a"], other["model_b"])


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs side by side. `facts` are (name, of a, of b); a metric that does not compare has its reason."""

    a: RunFolder
    b: RunFolder
    facts: tuple[tuple[str, str, str], ...]
    battle: Battle | None
    why_no_battle: str
    metrics: tuple[Difference, ...]
    better: tuple[bool, ...]
    """For each metric, whether more is better."""


def read_pair(site: Site, first: str, second: str) -> Pair:
    """Read two runs. Raises RecordError: one is not there."""
    runs = [_open(site, name) for name in (first, second)]
    a, b = runs
    battle, why = None, ""
    try:
        battle = battle_runs(a, b)
    except AdmlopsError as error:
        why = error.message
    metrics, better = _compare(a, b)
    return Pair(a=a, b=b, facts=_facts(a, b), battle=battle, why_no_battle=why, metrics=metrics, better=better)


def _open(site: Site, name: str) -> RunFolder:
    if not NAME.fullmatch(name):
        raise RecordError(f"there is no run called {name[:100]}", hint="choose one from the list")
    return RunFolder.open(site.layout.runs / name)


def _compare(a: RunFolder, b: RunFolder) -> tuple[tuple[Difference, ...], tuple[bool, ...]]:
    """Set every metric of both beside each other; those of other protocols, samples or machines have no difference."""
    try:
        runs = read_evaluated(a), read_evaluated(b)
    except RecordError:
        return (), ()
    theirs = {metric.key: metric for metric in runs[1].metrics}
    named = {(metric.name, metric.protocol): metric for metric in runs[1].metrics}
    found: list[Difference] = []
    for own in runs[0].metrics:
        other = theirs.get(own.key)
        if other is not None and own.weights is None and other.weights is None:
            found.append(compare_metric(own, other, *runs))
        else:
            found.append(_incomparable(own, named.get((own.name, own.protocol))))
    mine = {(metric.name, metric.protocol) for metric in runs[0].metrics}
    found += [_incomparable(None, one) for one in runs[1].metrics if (one.name, one.protocol) not in mine]
    better = tuple(_higher_is_better(one, runs[0].metrics + runs[1].metrics) for one in found)
    return tuple(found), better


def _higher_is_better(one: Difference, metrics: tuple[Metric, ...]) -> bool:
    return next(m.higher_is_better for m in metrics if (m.name, m.protocol) == (one.metric, one.protocol))


def _incomparable(a: Metric | None, b: Metric | None) -> Difference:
    known = a or b
    assert known is not None
    if a is None or b is None:
        reason = "only one of the two has it"
    elif a.dataset != b.dataset:
        reason = "measured on other samples"
    elif a.weights or b.weights:
        reason = "random weights"
    else:
        reason = "measured on another machine, or with another precision"
    return Difference(
        metric=known.name,
        protocol=known.protocol,
        n=known.n,
        a=None if a is None else a.value,
        b=None if b is None else b.value,
        difference=None,
        interval=None,
        p_value=None,
        reason=reason,
    )


def _facts(a: RunFolder, b: RunFolder) -> tuple[tuple[str, str, str], ...]:
    pairs = [_list_facts(run) for run in (a, b)]
    return tuple((name, pairs[0][name], pairs[1][name]) for name in pairs[0])


def _list_facts(run: RunFolder) -> dict[str, str]:
    header = run.header
    device = header.gpu or header.device_kind
    return {
        "Model": header.model + (f" with {header.execution}" if header.execution else ""),
        "Variant": header.variant,
        "Data": " · ".join(part for part in (header.data.version, header.data.split or "") if part),
        "Samples": header.coverage,
        "Device": "processor" if device == "cpu" else device,
        "Weights": header.random_weights or header.provenance.checkpoint or "the model's own",
        "Code": (header.provenance.commit or "not a git checkout")[:12],
        "State": run.observe_state(),
    }
