"""The failure classes: the policy of each, and what a person can do about it. Policies are data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from admlops.doctor import Diagnosis, Site, diagnose
from admlops.results.record import Failure, FailureClass

MAX_MESSAGE_CHARACTERS = 500
LOST = "the device or the machine of its worker was lost"
"""The message of a lost device; it may go into records, so it names none."""
DIAGNOSED: frozenset[FailureClass] = frozenset({"arch", "crash", "lost", "model"})
"""Classes that say too little: the worker's words are looked up among the known failures."""
WRONG_FILES = frozenset({"onnx-file-damaged", "onnx-of-another-network"})
"""Rules of the doctor by which the exported file of a run is at fault: another file is another run."""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The consequence of a failure: `retries` fresh workers for the same scene, then `then`.

    `shrink` asks the fresh worker to take less GPU memory. In a run with several devices, one with this failure at
    `device_limit` scenes is taken out (0: never). With `blames_device_at_start`, so is one on which a worker that does
    not start has used up its retries.
    """

    retries: int
    then: Literal["stop", "skip_sample", "skip_scene"]
    hint: str
    shrink: bool = False
    device_limit: int = 0
    blames_device_at_start: bool = False


POLICIES: dict[FailureClass, Policy] = {
    "arch": Policy(
        retries=0,
        then="stop",
        hint="admlops models show MODEL   # choose a variant built for this GPU (nvidia-smi -L)",
        device_limit=1,
        blames_device_at_start=True,
    ),
    "cuda_oom": Policy(
        retries=2,
        then="skip_sample",
        shrink=True,
        hint="free the GPU (nvidia-smi shows who uses it), raise GPU_MEMORY_LIMIT, or take a GPU with more memory",
        blames_device_at_start=True,
    ),
    "host_oom": Policy(
        retries=1, then="skip_scene", hint="run with --workers 1, or on a machine with more memory (free -m)"
    ),
    "poisoned": Policy(
        retries=1,
        then="skip_scene",
        hint="CUDA_LAUNCH_BLOCKING=1 admlops run …   # names the kernel; if it moves about, test the GPU",
        device_limit=2,
        blames_device_at_start=True,
    ),
    "lost": Policy(
        retries=3,
        then="skip_scene",
        hint="nvidia-smi   # on that machine: if the GPU is gone, restart the pod; else look whether the machine is up",
        device_limit=1,
        blames_device_at_start=True,
    ),
    "crash": Policy(
        retries=1,
        then="skip_scene",
        hint="read the last lines of logs/worker-*.log in the run folder",
        device_limit=3,
        blames_device_at_start=True,
    ),
    "hang": Policy(
        retries=1,
        then="skip_scene",
        hint="export INFERENCE_TIMEOUT=<more seconds>   # if the model is slow; else read logs/worker-*.log",
        device_limit=3,
        blames_device_at_start=True,
    ),
    "protocol": Policy(
        retries=0, then="stop", hint="the adapter breaks its contract: compare its demo.py with docs/architecture.md"
    ),
    "data": Policy(retries=0, then="skip_sample", hint="mend what the message names, then start a new run"),
    "model": Policy(retries=0, then="skip_sample", hint="read the traceback in logs/worker-*.log in the run folder"),
    "cancelled": Policy(retries=0, then="stop", hint="repeat the command with --run NAME --resume to go on"),
}

FAILING_FROM_THE_START = 5
"""This many `model` failures before the first success stop the run: the model does not work at all."""


@dataclass(frozen=True, kw_only=True)
class WorkerFailure:
    """One failure as the host saw it. `detail` is for people: a traceback, the last lines of the log.

    `message` says the same in every run that fails in the same way, because it goes into the records. `batch` is how
    many samples were being processed together when the worker ended.
    """

    kind: FailureClass
    message: str
    detail: str = ""
    starting: bool = False
    signal: str | None = None
    batch: int = 1
    diagnosis: Diagnosis | None = None
    advice: str = ""

    @property
    def hint(self) -> str:
        """Return the remedy of a known failure; else the advice of its class."""
        return self.diagnosis.hint if self.diagnosis else self.advice or POLICIES[self.kind].hint

    @property
    def is_of_file(self) -> bool:
        """Tell whether the exported file is at fault, so that to go on with the run would fail again."""
        return self.diagnosis is not None and self.diagnosis.rule in WRONG_FILES

    @property
    def summary(self) -> str:
        """Return the message, with the cause if it is known."""
        return f"{self.message}; {self.diagnosis.cause}" if self.diagnosis else self.message

    @property
    def reason(self) -> str:
        """Return why a device is out of a run: what was seen of it, else the failure of its worker."""
        return self.detail if self.message == LOST and self.detail else self.summary

    def for_record(self) -> Failure:
        """Return the failure for a record: cut to size, and without addresses, which differ from run to run."""
        message = _ADDRESS.sub("0x…", self.summary)[:MAX_MESSAGE_CHARACTERS]
        return Failure(kind=self.kind, message=message, hint=self.hint)


def diagnose_failure(failure: WorkerFailure, *, model: str, python: Path) -> WorkerFailure:
    """Return the failure with its diagnosis, if it is a known failure of a build or an import."""
    if failure.kind not in DIAGNOSED or failure.diagnosis is not None:
        return failure
    known = diagnose(
        f"{failure.message}\n{failure.detail}",
        phases=["start"] if failure.starting else ["run"],
        signal=failure.signal,
        model=model,
        site=Site(prefix=python.parent.parent),
    )
    return replace(failure, diagnosis=known)


class WorkerError(Exception):
    """A worker is of no further use; `failure` says why. Never leaves this package."""

    def __init__(self, failure: WorkerFailure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure
