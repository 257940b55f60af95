"""Claimed beside measured, for every model of the catalogue: `python -m docs.claims [--collect RUN…]` writes claims.md.

What is claimed is `[[published]]` of the models' `model.toml`. What was measured is `measured.json`, to which
`--collect` adds the values of evaluated runs whose weights are the catalogue's: with data, device and version, and the
reason that the reports give where a difference is not to be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from admlops.catalog import list_models, load_model
from admlops.catalog.model import Claim, Model
from admlops.core.paths import find_layout
from admlops.pipeline.run_data import load_run_data
from admlops.reports.page import compare_claims
from admlops.results.runs import find_run

DOCS = Path(__file__).parent
MEASURED = DOCS / "measured.json"
NOT_MEASURED = "not measured yet"
HEAD = """\
# Claimed and measured

What the authors of each model published, and what was measured with this project under the same protocol with the same
weights. `python -m docs.claims --collect RUN` adds an evaluated run; `python -m docs.generate` writes this page.

A number is *not measured yet* where nobody has run the published weights on the real data set with this project and
kept the result here. It needs the data set, which is not ours to ship, and mostly a GPU. {measured} of {claims} numbers
are measured.
"""

Row = Mapping[str, Any]


def read_measured() -> list[Row]:
    """Return what was collected."""
    found: list[Row] = json.loads(MEASURED.read_text())
    return found


def write_claims() -> str:
    """Return the page."""
    layout = find_layout()
    models = [load_model(layout, name) for name in list_models(layout)]
    rows = read_measured()
    counted = [(claim, find_measured(model, claim, rows)) for model in models for claim in model.published]
    head = HEAD.format(claims=len(counted), measured=sum(bool(found) for _, found in counted))
    return head + "".join(_section(model, rows) for model in models if model.published)


def find_measured(model: Model, claim: Claim, rows: Sequence[Row]) -> list[Row]:
    """Return what was measured of a claim: the same metric, protocol, and weights or configuration."""
    wanted = (model.name, claim.metric, claim.protocol, claim.checkpoint, claim.config)
    keys = ("model", "metric", "protocol", "checkpoint", "config")
    return [row for row in rows if tuple(row.get(key) for key in keys) == wanted]


def _section(model: Model, rows: Sequence[Row]) -> str:
    lines = [f"\n## {model.name}\n", "| metric | of | claimed | measured | difference | conditions | why they differ |"]
    lines.append("|---|---|---|---|---|---|---|")
    for claim in model.published:
        of = claim.checkpoint or claim.config or ""
        about = f"{claim.metric}<br>`{claim.protocol}`"
        where = ", ".join(filter(None, (claim.device, claim.version)))
        found: list[Row | None] = [*find_measured(model, claim, rows)]
        for row in found or [None]:
            values = f"{claim.value:g} | {_measured(row, claim)}"
            lines.append(f"| {about} | {of} | {values} | {where or claim.source} |{_why(row)}")
    return "\n".join(lines) + "\n"


def _measured(row: Row | None, claim: Claim) -> str:
    if row is None:
        return f"{NOT_MEASURED} | –"
    difference = "–" if row["reason"] else f"{row['value'] - claim.value:+.4f}"
    return f"{row['value']:.4f} ({row['samples']:,} samples, {row['device']}, admlops {row['admlops']}) | {difference}"


def _why(row: Row | None) -> str:
    return " |" if row is None else f" {row['reason'] or row.get('why', '')} |"


def collect(names: Sequence[str]) -> list[Row]:
    """Return the values of evaluated runs that stand beside a claim, measured on real data.

    Raises:
        AdmlopsError: there is no such run.
    """
    layout = find_layout()
    found: list[Row] = []
    for name in names:
        run = find_run(layout, name)
        header = run.header
        if header.data.synthetic or header.random_weights:
            what = "data are synthetic" if header.data.synthetic else "weights are random"
            print(f"{name}: left out, for its {what}")
            continue
        data = load_run_data(run, model=load_model(layout, header.model))
        values = {(one.protocol, one.name): one for one in data.measured}
        for claim, row in zip(data.claims, compare_claims(name, data), strict=True):
            metric = values.get((claim.protocol, claim.metric))
            if metric is None or metric.value is None or claim.checkpoint != data.checkpoint:
                continue
            found.append(
                {
                    "model": header.model,
                    "metric": claim.metric,
                    "protocol": claim.protocol,
                    "checkpoint": claim.checkpoint,
                    "config": claim.config,
                    "value": metric.value,
                    "interval": metric.interval,
                    "samples": metric.n,
                    "data": f"{header.data.version} {header.data.split or ''}".strip(),
                    "device": header.gpu or header.device_kind,
                    "precision": header.settings.get("precision"),
                    "engine": header.engine_label,
                    "admlops": header.provenance.admlops,
                    "run": header.run,
                    "reason": row.reason,
                    "why": "",
                }
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", nargs="+", default=[], metavar="RUN", help="add what these runs measured")
    chosen = parser.parse_args()
    new = collect(chosen.collect)
    if new:
        key = ("run", "metric", "protocol", "checkpoint")
        known = {tuple(row.get(name) for name in key): row for row in [*read_measured(), *new]}
        MEASURED.write_text(json.dumps(list(known.values()), indent=1, ensure_ascii=False) + "\n")
    (DOCS / "claims.md").write_text(write_claims())
    print(f"{len(new)} values collected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
