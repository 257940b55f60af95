"""The smoke test of a finished environment: its modules import, its compiled operations compute what they should."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from admlops.core.errors import EnvError
from admlops.core.processes import run, signal_of
from admlops.doctor import Site, diagnose
from admlops.worker import smoke

SMOKE_TIMEOUT_S = 900.0
"""A first import from a cold network disk takes minutes."""
TAIL = 2000
SCRIPT = Path(smoke.__file__)


def smoke_test(
    python: Path,
    *,
    variables: Mapping[str, str | None],
    modules: Iterable[str],
    compiled: Iterable[str] = (),
    device: str | None = None,
    name: str,
    model: str | None = None,
) -> list[dict[str, Any]]:
    """Run `worker/smoke.py` with an environment's Python; returns its checks: {"check", "ok", "seconds", "said"}.

    `device` is "cpu", "cuda" or None; with "cuda" on a machine without a GPU only the CPU checks are made. Checks are
    the imports of `modules`, torch's kernels for this GPU, and the operations of those packages of `compiled` that are
    known. `model` is whose environment it is, for the hint.

    Raises:
        EnvError: a check failed, with what it said; or the interpreter died.
    """
    wanted = {"modules": list(modules), "compiled": list(compiled), "device": device or "cpu"}
    answer = run([python, SCRIPT], timeout_s=SMOKE_TIMEOUT_S, variables=variables, stdin=json.dumps(wanted).encode())
    *checks, last = _parse(answer.stdout) or [{"check": "its start", "ok": False, "said": ""}]
    if last["check"] != smoke.END:
        said = f"{python} died with code {answer.returncode} after {last['check']}:\n{answer.stderr[-TAIL:].strip()}"
        raise _refuse(name, said, python, model, signal=signal_of(answer.returncode))
    failed = [f"{check['check']}: {check['said']}" for check in checks if not check["ok"]]
    if failed:
        raise _refuse(name, "\n".join(failed), python, model)
    return checks


def _refuse(name: str, why: str, python: Path, model: str | None, *, signal: str | None = None) -> EnvError:
    message = f"{name}: the environment was built, but does not work: {why}"
    known = diagnose(why, phases=["start"], signal=signal, model=model, site=Site(prefix=python.parent.parent))
    if known is None:
        return EnvError(message, hint="admlops env repair MODEL   # if that does not help, a pin of the lock is wrong")
    return EnvError(f"{message}\n{known.cause}", hint=known.hint)


def _parse(stdout: str) -> list[dict[str, Any]]:
    """The script's lines; modules print their own as well."""
    mark = smoke.MARK
    return [json.loads(line.removeprefix(mark)) for line in stdout.splitlines() if line.startswith(mark)]
