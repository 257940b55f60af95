"""One piece of work on a model besides running it, in a process of the model's environment: exporting, verifying.

The host writes a JSON file and starts `demo.py --job FILE`:

    {"program": "/…/worker/export.py", "path": [folders of packages], "settings": {as in a load frame},
     "request": {the program's own}, "answer": "/…/answer.json"}

The program is a module with `run(adapter, settings, request) -> dict`; `adapter` is made and not loaded. Its answer, or
what went wrong, goes into the answer's file; what it prints goes to the log.
"""

import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, Dict, Type

from .adapter import Adapter, Settings
from .failures import classify, describe
from .network import NetworkError
from .parent import die_with_parent

EXIT_FAILED = 4
PROGRESS = "admlops-progress: "
"""A line that begins so tells a person how far a job is; the host shows the rest of it."""


def run_job(adapter: Type[Adapter], file: str) -> int:
    """Do what the file says; returns the exit code: 0, or EXIT_FAILED with the reason in the answer's file."""
    die_with_parent()
    with open(file, encoding="utf-8") as opened:
        job = json.load(opened)
    sys.path.extend(folder for folder in job.get("path") or () if folder not in sys.path)
    try:
        answer = {"done": _run(adapter, job)}
    except Exception as error:  # noqa: BLE001  an adapter may raise anything; this is the process's edge
        message, trace = describe(error)
        sys.stderr.write(trace)
        answer = {"failed": {"class": classify(error), "message": message, "traceback": trace}}
        if isinstance(error, NetworkError) and error.hint:
            answer["failed"].update({"text": error.text, "hint": error.hint})
    if "failed" in answer or not int(os.environ.get("RANK", "0")):  # of several processes the first answers
        _write(job["answer"], answer)
    return 0 if "done" in answer else EXIT_FAILED


def tell(text: str) -> None:
    """Tell a person how far the job is."""
    sys.stdout.write("{}{}\n".format(PROGRESS, text))
    sys.stdout.flush()


def _run(adapter: Type[Adapter], job: Dict[str, Any]) -> Dict[str, Any]:
    given = job.get("settings") or {}
    settings = Settings(**{name: given[name] for name in Settings._fields if name in given})
    done: Dict[str, Any] = _load(job["program"]).run(adapter(), settings, job.get("request") or {})
    return done


def _load(program: str) -> Any:
    """Import the program as a part of this package, so that its relative imports work wherever its file lies."""
    name = "{}.job_{}".format(__package__, os.path.splitext(os.path.basename(program))[0])
    spec = spec_from_file_location(name, program)
    if spec is None or spec.loader is None or not os.path.isfile(program):
        raise ImportError("the program of a job is not a Python file: {}".format(program))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(path: str, answer: Dict[str, Any]) -> None:
    temporary = path + ".partial"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(temporary, path)
