"""The report: one HTML file that opens from disk, makes no network request, and is complete without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from admlops import __version__
from admlops.core.storage import write_atomically
from admlops.pipeline.run_data import RunData
from admlops.reports import page
from admlops.reports.bird_eye import BIRD_EYE_STYLE, OVERLAY_STYLE
from admlops.reports.scene_view import Samples
from admlops.reports.section import Report, Section
from admlops.reports.sections import SECTIONS

CORE_SCRIPT = "core.js"
"""What every other script builds on."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script of the page; the page's security policy allows it by its digest, and no other."""

    text: Markup
    digest: str


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A section as it stands in the page."""

    id: str
    title: str
    body: Markup


def write_report(
    target: Path,
    runs: Sequence[RunData],
    comparison: Mapping[str, Any] | None,
    *,
    data: Samples | None,
    also: Sequence[Samples] = (),
) -> Path:
    """Write `report.html` for one run, or for several side by side, and return its path.

    `comparison` is `comparison_summary.json` where the report is one of a comparison. What is missing (metrics,
    telemetry, the data set, a map) becomes a sentence that names the next command. `also` are data sets of runs that
    were not made on `data`.

    Raises:
        RecordError: a record is not a standard record.
        StorageError: the file cannot be written; an older one is as it was.
    """
    write_atomically(target, render_report(runs, comparison, data=data, also=also).encode("utf-8"))
    return target


def render_report(
    runs: Sequence[RunData],
    comparison: Mapping[str, Any] | None,
    *,
    data: Samples | None,
    also: Sequence[Samples] = (),
    sections: Sequence[Section] = tuple(SECTIONS),
) -> str:
    """The page's text; the same input gives the same text."""
    report = Report(runs=runs, comparison=comparison, data=data, also=also)
    environment = make_environment()
    shown = [(section, values) for section in sections if (values := section.values(report)) is not None]
    names = dict.fromkeys([CORE_SCRIPT, *(name for section, _ in shown for name in section.scripts)])
    return environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        sections=[_render(environment, report, section, values) for section, values in shown],
        scripts=[_read_script(name) for name in names],
        data_sets=list(dict.fromkeys(page.describe_data(run) for _, run in report.ran)),
        synthetic=any(run.header is not None and run.header.data.synthetic for run in runs),
        random_weights=[run.header.run for run in runs if run.header is not None and run.header.random_weights],
        notes=_group_notes(report),
        overlay_style=Markup(OVERLAY_STYLE + BIRD_EYE_STYLE),  # noqa: S704 - our own constant
    )


def _render(environment: jinja2.Environment, report: Report, section: Section, values: Mapping[str, Any]) -> Rendered:
    template = environment.get_template(f"sections/{section.template}")
    body = Markup(template.render({**values, "report": report}))  # noqa: S704 - the template escapes
    return Rendered(id=section.id, title=str(values.get("title", section.title)), body=body)


def _group_notes(report: Report) -> list[tuple[str, str]]:
    """(labels of the runs, note), once for all runs that have it; the labels are empty where all have."""
    found: dict[str, list[str]] = {}
    for label, run in report.pairs:
        for note in run.notes:
            found.setdefault(note, []).append(label)
    return [("" if len(own) == len(report.runs) else ", ".join(own), note) for note, own in found.items()]


def _read_script(name: str) -> Script:
    folder = resources.files("admlops.reports")
    text = (folder / name if "/" in name else folder / "scripts" / name).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(text=Markup(text), digest=digest)  # noqa: S704 - our own file


def make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("admlops.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = page.number
    environment.filters["moment"] = page.moment
    return environment
