"""Whether what was installed is still what was pinned: environments, checkpoints, sources.

Environments are verified by names, versions, types and sizes, not by content: `admlops env verify --full` hashes.
What is not installed is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from admlops.catalog import Model, list_models, load_model
from admlops.checkpoints import find_problem, path_of
from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout
from admlops.environments.integrity.verification import verify
from admlops.environments.inventory import InstalledEnvironment, list_installed, locked_base, locked_python
from admlops.pipeline.health.check import Finding, HealthCheck, Place
from admlops.pipeline.health.waiting import ask_all
from admlops.sources.checkouts import find_problems, list_sources

ENVIRONMENT_S = 120.0
"""A large environment on a busy disk takes tens of seconds to list."""


def _look(place: Place) -> Iterator[Finding]:
    layout = place.layout
    if not layout.is_checkout:
        yield Finding(measure="models", value="none: the package is installed alone")
        return
    models = [load_model(layout, name) for name in list_models(layout)]
    yield from _environments(layout)
    yield from _checkpoints(layout, models)
    yield from _sources(layout, models)


def _environments(layout: Layout) -> Iterator[Finding]:
    """Judge every environment; one whose disk does not answer in time does not keep the others."""
    installed = list_installed(layout)
    questions = {one.prefix.name: (partial(_judge_environment, one), ENVIRONMENT_S) for one in installed}
    answers = ask_all(questions)
    for name in questions:
        yield answers.get(name) or Finding(
            measure="environment",
            value="not looked at",
            subject=name,
            status="warn",
            problem=f"its files could not be listed within {ENVIRONMENT_S:g} s",
            advice=f"admlops env verify {name}   # without a time limit",
        )
    if not installed:
        yield Finding(measure="environments", value=0)


def _judge_environment(one: InstalledEnvironment) -> Finding:
    name = one.prefix.name
    if one.state != "ready":
        return Finding(
            measure="environment",
            value=one.state,
            subject=name,
            status="warn",
            problem="it is not whole: a build failed, was stopped, or still goes on",
            advice=f"admlops doctor   # says what failed; then admlops env remove {name}, and install it again",
        )
    try:
        report = verify(one.prefix, full=False, base=locked_base(one), python=locked_python(one))
    except (AdmlopsError, OSError) as error:
        hint = error.hint if isinstance(error, AdmlopsError) else f"admlops env verify {name}"
        said = error.message if isinstance(error, AdmlopsError) else str(error)
        return Finding(
            measure="environment", value="unreadable", subject=name, status="fail", problem=said, advice=hint
        )
    if report.clean:
        asked = one.spec is not None
        return Finding(
            measure="environment",
            value="as built" if asked else "as built, and no lock asks for it",
            subject=name,
        )
    first = report.differences[0]
    more = f", and {len(report.differences) - 1} more" if len(report.differences) > 1 else ""
    return Finding(
        measure="environment",
        value=f"{len(report.differences)} differences",
        subject=name,
        status="fail",
        problem=f"{first.path} {first.reason}{more}",
        advice=f"admlops env verify {name}   # then admlops env repair {name}",
    )


def _checkpoints(layout: Layout, models: list[Model]) -> Iterator[Finding]:
    """Judge every checkpoint that is there; one that is not is no fault."""
    known = 0
    for model in models:
        for name in model.checkpoints:
            if not path_of(layout, model, name).is_file():
                continue
            problem = find_problem(layout, model, name)
            if problem is None:
                known += 1
                continue
            yield Finding(
                measure="checkpoint",
                value="not as recorded",
                subject=f"{model.name} {name}",
                status="fail",
                problem=problem,
                advice=f"admlops checkpoints verify {model.name}   # then fetch or add it anew",
            )
    yield Finding(measure="checkpoints as recorded", value=known)


def _sources(layout: Layout, models: list[Model]) -> Iterator[Finding]:
    pinned = 0
    for source in list_sources(layout, models):
        if not (source.path(layout) / ".git").exists():
            continue
        problems = find_problems(layout, source)
        if not problems:
            pinned += 1
            continue
        yield Finding(
            measure="source",
            value="not as pinned",
            subject=source.folder,
            status="fail",
            problem="; ".join(problems),
            advice=f"admlops sources fetch --force {source.models[0]}   # drops changes to tracked files",
        )
    yield Finding(measure="sources as pinned", value=pinned)


CHECK = HealthCheck(id="files", title="Files", look=_look, deadline_s=2 * ENVIRONMENT_S)
