"""`demo.py --sample-token …`: one sample without a host, for trying an adapter by hand."""

import argparse
import json
import os
import sys
import tempfile
from typing import Any, Dict, Type

from .adapter import Adapter, Settings
from .failures import classify, describe
from .measure import Step, encode_result, run_sample
from .precision import PrecisionError, require
from .runtimes.base import load_runtime
from .samples.errors import DataError
from .samples.openlane import OpenLane, find_version, list_versions
from .samples.sample_index import SampleIndex, open_samples
from .wire import write_all

EXIT_MODEL_FAILED = 1
EXIT_USER = 2


class UserError(Exception):
    """A mistake on the command line. The message names the option and what would be right."""


def run_one(adapter: Type[Adapter], options: argparse.Namespace) -> int:
    """Run one sample and write its result as JSON. Returns the exit code: 1 the model failed, 2 the user's mistake."""
    try:
        _check(options)
        if options.out != "-":
            options.out = os.path.abspath(options.out)  # adapters go to their source's root
        sample = _read_sample(options)
        # The model may print, from C too: with `--out -` the result must stay alone on stdout.
        stdout = os.dup(1)
        os.dup2(2, 1)
        payload = _run(adapter(), sample, options)
        if options.out == "-":
            write_all(stdout, payload + b"\n")
        else:
            _write(options.out, payload + b"\n")
    except (UserError, DataError) as error:
        return _complain(adapter.name, str(error), EXIT_USER)
    except OSError as error:
        return _complain(adapter.name, "{}: {}".format(error.filename or options.out, error.strerror), EXIT_USER)
    except ModelFailure as error:
        return _complain(adapter.name, str(error), EXIT_MODEL_FAILED)
    return 0


class ModelFailure(Exception):  # noqa: N818  its class is named in the text
    """The adapter raised; the message holds the failure class and the traceback."""


def _run(adapter: Adapter, sample: Dict[str, Any], options: argparse.Namespace) -> bytes:
    settings = Settings(
        device=options.device,
        config=options.config,
        checkpoint=options.checkpoint,
        variant=options.variant,
        options=_model_options(options),
        precision=options.precision,
    )
    step, runtime = Step(), load_runtime(None)
    try:
        require(adapter.name, adapter.precisions, options.precision)
        runtime.use_device(options.device)
        adapter.load(settings)
        adapter.start_scene(sample["scene"])
        return encode_result(run_sample(adapter, sample, step, runtime))
    except DataError:
        raise
    except PrecisionError as error:
        raise UserError(str(error)) from error
    except Exception as error:  # an adapter may raise anything; this is the process's edge
        message, trace = describe(error)
        kind = classify(error, preparing=step.preparing)
        if kind == "data":
            raise DataError(message) from error
        raise ModelFailure("{} failure: {}\n{}".format(kind, message, trace)) from error


def _model_options(options: argparse.Namespace) -> Dict[str, Any]:
    """Read `--options` and `--weights`. Raises UserError for what is no JSON object."""
    try:
        own = json.loads(options.options or "{}")
    except ValueError as error:
        raise UserError("--options {}: {}".format(options.options, error)) from error
    if not isinstance(own, dict):
        raise UserError("--options {} is not a JSON object".format(options.options))
    return {**own, "weights": options.weights} if options.weights else own


def _read_sample(options: argparse.Namespace) -> Dict[str, Any]:
    """Read the sample, with its context where the data set is indexed."""
    if list_versions(options.dataroot):
        version = find_version(options.dataroot, options.sample_token)
        return OpenLane(options.dataroot, version).sample(options.sample_token)
    samples = open_samples(options.dataroot, options.version)
    sample = samples.sample(options.sample_token)
    if isinstance(samples, SampleIndex):
        sample["context"] = samples.context(options.sample_token)
    return sample


def _check(options: argparse.Namespace) -> None:
    for name in ("sample_token", "dataroot"):
        if not getattr(options, name):
            raise UserError("--{} is missing; see --help".format(name.replace("_", "-")))
    if not os.path.isdir(options.dataroot):
        raise UserError("--dataroot {} is not a folder".format(options.dataroot))
    for name in ("config", "checkpoint"):
        path = getattr(options, name)
        if path and not os.path.isfile(path):
            raise UserError("--{} {} is not a file".format(name, path))


def _write(out: str, content: bytes) -> None:
    """To a temporary name beside `out`, then renamed into place."""
    target = os.path.abspath(out)
    if not os.path.isdir(os.path.dirname(target)):
        raise UserError("--out {}: the folder {} is not there".format(out, os.path.dirname(target)))
    descriptor, temporary = tempfile.mkstemp(prefix="." + os.path.basename(target) + ".", dir=os.path.dirname(target))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError:
        os.unlink(temporary)
        raise


def _complain(name: str, message: str, code: int) -> int:
    sys.stderr.write("{}: {}\n".format(name, message))
    return code
