"""What a check is, what it finds, and the checks by id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from admlops.core.paths import Layout
from admlops.core.registry import Registry

Status = Literal["pass", "warn", "fail"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail")
"""From the best to the worst. `warn`: it works, but slower, smaller or not everywhere. `fail`: something will not."""
Value = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One value that a check observed.

    Attributes:
        measure: what was measured, such as `free`.
        value: what was observed; None where it could not be.
        unit: of the value, `MB` are 10⁶ bytes; empty for names, versions and counts.
        subject: what it was observed of, where there are several: a folder, a GPU, an environment.
        problem: what is wrong, for a person; empty if nothing is.
        advice: the next command to type.
        rule: the doctor's rule whose remedy is the advice, in place of `advice`.
    """

    measure: str
    value: Value
    unit: str = ""
    status: Status = "pass"
    subject: str = ""
    problem: str = ""
    advice: str = ""
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is looked at: an installation, the variables of the process, the driver's library, the root of files."""

    layout: Layout
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    nvml: Any = None
    root: Path = Path("/")

    def read(self, path: str) -> str:
        """Read a small file of the system, such as `proc/version`; "" where it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    @property
    def is_pod(self) -> bool:
        """Tell whether this is a pod of RunPod."""
        return bool(self.variables.get("RUNPOD_POD_ID"))


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One side of the machine or installation.

    `look` raises AdmlopsError or OSError if nothing can be observed, which counts as a failure of the check. A look
    that takes longer than `deadline_s` is given up: a disk that does not answer must not delay the report.
    """

    id: str
    title: str
    look: Callable[[Place], Iterable[Finding]]
    deadline_s: float = 20.0


HEALTH_CHECKS: Registry[HealthCheck] = Registry(
    "health check",
    {
        "system": "admlops.pipeline.health.system:CHECK",
        "memory": "admlops.pipeline.health.memory:CHECK",
        "disk": "admlops.pipeline.health.disk:CHECK",
        "gpu": "admlops.pipeline.health.gpu:CHECK",
        "files": "admlops.pipeline.health.files:CHECK",
        "dependencies": "admlops.pipeline.health.dependencies:CHECK",
        "configuration": "admlops.cli.health_configuration:CHECK",
        "connectivity": "admlops.pipeline.health.connectivity:CHECK",
        "queue": "admlops.service.health.queue_check:CHECK",
        "remote": "admlops.pipeline.health.remote:CHECK",
    },
)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of these; `pass` of none."""
    return max(statuses, key=STATUSES.index, default="pass")


def judge(value: float, *, warn_below: float, fail_below: float = float("-inf")) -> Status:
    """Judge a value that is better the higher it is."""
    return "fail" if value < fail_below else "warn" if value < warn_below else "pass"
