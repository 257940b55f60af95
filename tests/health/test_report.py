"""The report of all checks: its form, its deadlines, and what becomes of a check that cannot look."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from datetime import datetime

import pytest

from admlops.core.errors import StorageError, UsageError
from admlops.core.paths import find_layout
from admlops.core.registry import Registry
from admlops.doctor import load_rules
from admlops.pipeline.health import report
from admlops.pipeline.health.check import HEALTH_CHECKS, Finding, HealthCheck, Place, worst
from admlops.pipeline.health.report import look

PLACE = Place(layout=find_layout(), variables={})


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Registry[HealthCheck]:
    """A registry without the built-in checks."""
    own: Registry[HealthCheck] = Registry("health check", {})
    monkeypatch.setattr(report, "HEALTH_CHECKS", own)
    return own


def check(name: str, *findings: Finding, deadline_s: float = 5.0) -> HealthCheck:
    return HealthCheck(id=name, title=name.title(), look=lambda place: findings, deadline_s=deadline_s)


def test_the_form_is_that_of_health_json(checks: Registry[HealthCheck]) -> None:
    full = Finding(
        measure="free inodes", value=7, subject="runs", status="fail", problem="few are left", rule="no-inodes"
    )
    roomy = Finding(measure="free", value=1200, unit="MB", subject="data", advice="not told where all is well")
    checks.register("disk", check("disk", full, roomy))
    checks.register("more", check("more", Finding(measure="pods", value=None, status="warn", problem="p", advice="a")))
    shape = json.loads(json.dumps(look(PLACE, release="abc").to_json()))
    assert {key: shape[key] for key in ("status", "releaseId", "serviceId")} == {
        "status": "fail",
        "releaseId": "abc",
        "serviceId": "admlops",
    }
    assert list(shape["checks"]) == ["disk:free-inodes", "disk:free", "more:pods"]
    (entry,) = shape["checks"]["disk:free-inodes"]
    assert datetime.fromisoformat(entry.pop("time")).tzinfo is not None
    remedy = next(rule.hint for rule in load_rules() if rule.id == "no-inodes")
    assert entry == {
        "componentId": "runs",
        "componentType": "system",
        "observedValue": 7,
        "status": "fail",
        "output": "few are left",
        "advice": remedy,
        "rule": "no-inodes",
    }
    (entry,) = shape["checks"]["disk:free"]
    assert {key: entry[key] for key in ("observedValue", "observedUnit", "status")} == {
        "observedValue": 1200,
        "observedUnit": "MB",
        "status": "pass",
    }
    assert "advice" not in entry


def test_the_worst_decides() -> None:
    assert worst([]) == "pass"
    assert worst(["pass", "fail", "warn"]) == "fail"
    assert worst(["warn", "pass"]) == "warn"


def test_a_check_that_cannot_look_fails_and_the_others_answer(checks: Registry[HealthCheck]) -> None:
    def refuse(_: Place) -> Iterable[Finding]:
        raise StorageError("/x cannot be read", hint="ls -ld /x")

    def break_(_: Place) -> Iterable[Finding]:
        yield Finding(measure="first", value=1)
        raise ZeroDivisionError("oops")

    checks.register("refused", HealthCheck(id="refused", title="Refused", look=refuse))
    checks.register("defect", HealthCheck(id="defect", title="Defect", look=break_))
    checks.register("well", check("well", Finding(measure="one", value=1)))
    refused, defect, well = look(PLACE).checks
    assert (refused.status, refused.findings[0].problem, refused.findings[0].advice) == (
        *("fail", "/x cannot be read", "ls -ld /x"),
    )
    assert defect.findings[0].problem == "the check itself failed: ZeroDivisionError: oops"
    assert well.status == "pass"


def test_a_check_that_hangs_is_given_up(checks: Registry[HealthCheck]) -> None:
    gate = threading.Event()

    def hang(_: Place) -> Iterable[Finding]:
        gate.wait(30)
        return ()

    checks.register("hung", HealthCheck(id="hung", title="Hung", look=hang, deadline_s=0.2))
    checks.register("well", check("well", Finding(measure="one", value=1)))
    begun = time.monotonic()
    hung, well = look(PLACE).checks
    assert time.monotonic() - begun < 10, "the deadline is a fiftieth of this"
    gate.set()
    assert (hung.status, hung.findings[0].problem) == ("fail", "it did not answer within 0.2 s")
    assert well.status == "pass"


def test_one_is_asked_by_its_name() -> None:
    assert [one.check.id for one in look(PLACE, ["memory", "memory"]).checks] == ["memory"]
    with pytest.raises(UsageError, match="no health check 'memry'; did you mean memory"):
        look(PLACE, ["memry"])


def test_every_built_in_check_is_whole_and_its_rules_exist() -> None:
    for name, one in zip(HEALTH_CHECKS.ids(), HEALTH_CHECKS.values(), strict=True):
        assert one.id == name
        assert one.title
    known = {rule.id: rule for rule in load_rules()}
    used = {"shared-memory-full", "too-many-open-files", "no-inodes", "no-gpu", "driver-not-running"}
    used |= {"driver-and-libraries-apart", "gpu-broken", "gpu-busy", "no-kernel-for-this-gpu", "cuda-compat-libraries"}
    for name in used:
        assert "{" not in known[name].hint, "a remedy that waits for words of a message says nothing here"
