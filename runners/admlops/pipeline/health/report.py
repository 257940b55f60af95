"""Runs checks side by side and puts what they find into one report.

The report's JSON has the form of the media type application/health+json. The draft that describes it
(draft-inadarei-api-health-check-06) expired in 2022 and is no standard; the form is taken because monitoring tools
know it. `advice` and `rule` are keys of our own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from admlops import __version__
from admlops.core.errors import AdmlopsError
from admlops.doctor import load_rules
from admlops.pipeline.health.check import HEALTH_CHECKS, Finding, HealthCheck, Place, Status, worst
from admlops.pipeline.health.waiting import ask_all

MEDIA_TYPE = "application/health+json"
ANSWER = "answer"
"""The measure of a check that could not look, or not in time."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What one check found, when it was done (UTC), and how long it took."""

    check: HealthCheck
    findings: tuple[Finding, ...]
    at: datetime
    seconds: float

    @property
    def status(self) -> Status:
        return worst(one.status for one in self.findings)


@dataclass(frozen=True, kw_only=True)
class HealthReport:
    """What the checks found, in the order of their registration."""

    checks: tuple[CheckReport, ...]
    release: str = __version__

    @property
    def status(self) -> Status:
        return worst(one.status for one in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report in the form of application/health+json."""
        checks: dict[str, list[dict[str, Any]]] = {}
        for one in self.checks:
            for finding in one.findings:
                key = f"{one.check.id}:{finding.measure.replace(' ', '-')}"
                checks.setdefault(key, []).append(_entry(finding, one.at))
        return {
            "status": self.status,
            "version": __version__,
            "releaseId": self.release,
            "serviceId": "admlops",
            "description": "the machine and installation that admlops runs on",
            "checks": checks,
        }


def look(place: Place, names: Sequence[str] = (), *, release: str = __version__) -> HealthReport:
    """Run the registered checks of these ids, all without any.

    Raises:
        UsageError: no check has one of the ids.
    """
    checks = [HEALTH_CHECKS.get(name) for name in dict.fromkeys(names or HEALTH_CHECKS.ids())]
    return run_checks(checks, place, release=release)


def run_checks(checks: Sequence[HealthCheck], place: Place, *, release: str = __version__) -> HealthReport:
    """Run checks, each in a thread of its own and each up to its deadline."""
    remedies = {rule.id: rule.hint for rule in load_rules()}
    answers = ask_all({one.id: (partial(_look_at, one, place), one.deadline_s) for one in checks})
    reports = (answers.get(check.id) or _gave_up(check) for check in checks)
    return HealthReport(checks=tuple(_advise(one, remedies) for one in reports), release=release)


def _look_at(check: HealthCheck, place: Place) -> CheckReport:
    begun = time.monotonic()
    try:
        findings = tuple(check.look(place))
    except AdmlopsError as error:
        findings = (_unanswered(error.message, error.hint),)
    except OSError as error:
        findings = (_unanswered(str(error), ""),)
    except Exception as error:  # noqa: BLE001  the edge of a thread: one check's defect must not take the others' answers
        findings = (_unanswered(f"the check itself failed: {type(error).__name__}: {error}", ""),)
    return CheckReport(check=check, findings=findings, at=datetime.now(UTC), seconds=time.monotonic() - begun)


def _gave_up(check: HealthCheck) -> CheckReport:
    problem = f"it did not answer within {check.deadline_s:g} s"
    finding = _unanswered(problem, "df -h; dmesg | tail   # a disk or a driver that hangs keeps every question waiting")
    return CheckReport(check=check, findings=(finding,), at=datetime.now(UTC), seconds=check.deadline_s)


def _unanswered(problem: str, advice: str) -> Finding:
    return Finding(measure=ANSWER, value=None, status="fail", problem=problem, advice=advice)


def _advise(report: CheckReport, remedies: Mapping[str, str]) -> CheckReport:
    """Replace the names of the doctor's rules by their remedies."""
    findings = (
        replace(one, advice=one.advice or remedies[one.rule]) if one.rule and one.status != "pass" else one
        for one in report.findings
    )
    return replace(report, findings=tuple(findings))


def _entry(finding: Finding, at: datetime) -> dict[str, Any]:
    entry: dict[str, Any] = {
        **({"componentId": finding.subject} if finding.subject else {}),
        "componentType": "system",
        "observedValue": finding.value,
        **({"observedUnit": finding.unit} if finding.unit else {}),
        "status": finding.status,
        "time": at.isoformat(timespec="seconds"),
    }
    told = {"output": finding.problem, "advice": finding.advice, "rule": finding.rule if finding.advice else ""}
    return entry | {key: text for key, text in told.items() if text and finding.status != "pass"}
