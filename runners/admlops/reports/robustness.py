"""The page of a grid of faults: rates beside published ones, a heat map, and the pictures that models saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admlops import __version__
from admlops.evaluation.robustness.published import PUBLISHED
from admlops.reports.html import make_environment
from admlops.worker.corruptions.fault import PICTURES


def render_robustness(summary: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the page's text; the same grid gives the same text.

    Args:
        summary: what robustness.json holds.
        pictures: by the label of a fault, and `clean`, base64 of a JPEG; empty where there are none.
    """
    protocols = list(dict.fromkeys(name for model in summary["models"].values() for name in model["scores"]))
    return (
        make_environment()
        .get_template("robustness.html.j2")
        .render(
            summary=summary,
            title=f"Robustness of {', '.join(summary['models'])}",
            tables=[_table(summary, protocol) for protocol in protocols],
            published=PUBLISHED,
            fault_names=PICTURES,
            pictures=pictures,
            version=__version__,
        )
    )


def _table(summary: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """The rows of one protocol: a model's clean score, and its share of it at each fault and level."""
    rows = []
    for name, model in summary["models"].items():
        found = model["scores"].get(protocol)
        if found is not None:
            rows.append({"model": name, **found, "heat": _heat(found)})
    return {"protocol": protocol, "metric": rows[0]["metric"], "rows": rows}


def _heat(scores: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, int]]]:
    """By fault and level the score, and how much of the clean one is lost [%, 0 to 100], which is the heat."""
    clean = scores["clean"]
    return {
        fault: {
            level: (value, round(100 * min(1.0, max(0.0, 1 - value / clean))) if clean > 0 else 0)
            for level, value in row.items()
        }
        for fault, row in scores["cells"].items()
    }
