"""The official code beside ours: each evaluation names what can be run for it, or why there is nothing.

A package runs in an environment of envs/official; code of a repository runs from its checkout in submodules/.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from admlops.core.counting import count_of
from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments import Environment, ensure_official
from admlops.evaluation.base import Evaluation, OfficialCode, Result
from admlops.evaluation.context import Context
from admlops.evaluation.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Official:
    """What the official code said under one protocol."""

    package: str
    protocol: str
    numpy: str | None
    metrics: Sequence[Metric]

    def beside(self, ours: Sequence[Metric]) -> dict[str, Any]:
        """Return the form in metrics.json, with the largest difference from ours."""
        own = {metric.name: metric.value for metric in ours if metric.protocol == self.protocol}
        differences = [
            abs(value - metric.value)
            for metric in self.metrics
            if metric.value is not None and (value := own[metric.name]) is not None
        ]
        return {
            "package": self.package,
            "protocol": self.protocol,
            "numpy": self.numpy,
            "metrics": [metric.to_json() for metric in self.metrics],
            "max_abs_difference": max(differences, default=None),
        }


@dataclass(frozen=True, kw_only=True)
class NotAsked:
    """A protocol without official numbers. `is_missing`: there is official code, and it cannot be run here."""

    protocol: str
    reason: str
    is_missing: bool

    def to_json(self) -> dict[str, Any]:
        """Return the form in metrics.json."""
        return {"protocol": self.protocol, "reason": self.reason, "missing": self.is_missing}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a runner is given."""

    context: Context
    layout: Layout
    say: Say
    package: str

    def environment(self, name: str) -> Environment:
        """Return the environment of envs/official/NAME, built where it is missing. Raises EnvError."""
        return ensure_official(self.layout, name, say=self.say)

    def checkout(self, name: str) -> Path:
        """Return the folder of a model's code."""
        return self.layout.submodules / name

    def answer(self, result: Result, values: Mapping[str, float | None], *, numpy: str | None = None) -> Official:
        """Return what the code said, under the protocol and over the samples of our `result`."""
        ours = result.metrics(self.context.dataset)[0]
        metrics = [
            Metric(name=name, protocol=result.protocol, value=value, n=ours.n, dataset=ours.dataset)
            for name, value in values.items()
        ]
        return Official(package=self.package, protocol=result.protocol, numpy=numpy, metrics=metrics)


def run_official(
    context: Context, results: Sequence[tuple[Evaluation, Result]], *, layout: Layout, say: Say
) -> tuple[list[Official], list[NotAsked]]:
    """Run what official code there is, one after another; `say` hears of what cannot be run, or fails, and why."""
    found: list[Official] = []
    without: list[NotAsked] = []
    run = context.run.header.run
    for evaluation, result in results:
        code, protocol = evaluation.official, result.protocol
        if isinstance(code, str):
            without.append(NotAsked(protocol=protocol, reason=code, is_missing=False))
            say(f"{run}: {protocol} has no official package to run here: {code}")
        elif code.checkout and not (layout.submodules / code.checkout / "projects").is_dir():
            reason = f"its official code, in {code.checkout}'s repository, is not here: "
            without.append(NotAsked(protocol=protocol, reason=reason.rstrip(": "), is_missing=True))
            say(f"{run}: {protocol}: {reason}admlops sources fetch {code.checkout}")
        else:
            context.run.predictions_path.mkdir(exist_ok=True)
            say(f"{run}: official code, {protocol}, over {count_of(len(context.metadata), 'sample')}")
            asked = Asked(context=context, layout=layout, say=say, package=code.package)
            try:
                found.append(_find_runner(code)(asked, result))
            except EnvError as error:
                without.append(NotAsked(protocol=protocol, reason=error.message, is_missing=True))
                say(f"{run}: {protocol}: {error.message}\n  → {error.hint}")
    return found, without


def _find_runner(code: OfficialCode) -> Callable[[Asked, Result], Official]:
    module, _, name = code.runner.partition(":")
    return cast("Callable[[Asked, Result], Official]", getattr(importlib.import_module(module), name))
