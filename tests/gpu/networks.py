"""The networks of mmdetection3d with random weights, and a process for each of a stage's networks."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from checkout import CHECKOUT
from reporting import ONE_NETWORK, Options, Report, Skip, explain

from worker.adapter import Settings
from worker.mmlab.common.libraries import load_library

NETWORKS = ("StreamPETR", "PETR", "MapTR", "VAD", "TopoMLP", "PETRv2", "BEVFormer", "MapTRv2")
SOURCES = {"PETRv2": "PETR"}
"""Folders under `submodules/` that are not called as the network."""
SEED = 3
MARK = "admlops-network "
HALF_POSITIONS = "authors_half_positions"
"""The authors' precision, without the adapter's correction that keeps positions single."""
DEFAULTS: list[tuple[bool, bool]] = []
"""PyTorch's own TF32 of convolutions and of products, read once, before anything is switched."""


def open_network(
    model: str, options: Options, *, device: str, precision: str, more: Mapping[str, str] = MappingProxyType({})
) -> tuple[Any, list[dict[str, Any]]]:
    """A network's adapter, loaded with random weights and `more` of its options, and the samples of a scene.

    Raises:
        Skip: the model's source, its libraries or a scene of its data set are not here.
    """
    if not (CHECKOUT / "submodules" / SOURCES.get(model, model) / "projects").is_dir():
        raise Skip(f"{model}'s source is not here: admlops sources fetch {model}")
    try:
        samples = read_scene(model, options)
        adapter = importlib.import_module("inside_model").load_adapter(model)
        adapter.load(Settings(device=device, options={"weights": f"random:{SEED}", **more}, precision=precision))
    except ModuleNotFoundError as error:
        raise Skip(f"{model} needs the package {error.name}, which this Python does not have") from error
    except FileNotFoundError as error:
        raise Skip(f"{model} needs {error.filename or error}, which is not here") from error
    adapter.start_scene(samples[0]["scene"])
    return adapter, samples


def in_precision(case: str, adapter: Any, model: str, options: Options) -> Any:
    """The adapter that runs in a precision: the one that is loaded in float32, with TF32 switched, where that is all.

    Loading takes seconds of a GPU's time; half precision changes the network, and is loaded anew.
    """
    backends = load_library("torch").backends
    if not DEFAULTS:
        DEFAULTS.append((backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32))
    switches = {"float32": (False, False), "tf32": (True, True)}.get(case, DEFAULTS[0])
    if case not in ("float32", "tf32") and asks_for_half(adapter):
        more = {"positions": "as-upstream"} if case == HALF_POSITIONS else {}
        adapter, _ = open_network(model, options, device=options.device, precision="authors", more=more)
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = switches
    return adapter


def asks_for_half(adapter: Any) -> bool:
    """Whether the authors' configuration tests in half precision."""
    return adapter._config.get("fp16") is not None


def read_scene(model: str, options: Options) -> list[dict[str, Any]]:
    """The samples of the scene that `scenes.json` names for the model's kind of data."""
    kind = "openlanev2" if model == "TopoMLP" else "nuscenes"
    path = options.scenes / "scenes.json"
    scenes = json.loads(path.read_text()) if path.is_file() else {}
    if kind not in scenes:
        raise Skip(f"{model} needs a scene of {kind}, and {path} names none: tests/gpu/pack.py makes them")
    scene = scenes[kind]
    read_samples = importlib.import_module("run_adapter").read_samples
    samples: list[dict[str, Any]] = read_samples(str(options.scenes / scene["root"]), scene["version"], scene["tokens"])
    return samples


def head_arrays(adapter: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """What the network's heads give for one sample, by name: logits and codes before they are decoded and sorted."""
    ways = importlib.import_module("run_adapter")
    heads = ways.watch_heads(adapter)
    inputs = adapter.prepare(sample)
    adapter.forward(inputs)
    adapter.synchronize()
    return {key: value for name, given in heads.items() for key, value in ways.name_arrays(name, given).items()}


def compare_arrays(first: dict[str, Any], second: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Each array's largest absolute difference, and its largest value in `first`; None where shapes differ."""
    numpy = load_library("numpy")
    found: dict[str, dict[str, float | None]] = {}
    for name in sorted(first.keys() & second.keys()):
        one, other = first[name].astype(float), second[name].astype(float)
        same = one.shape == other.shape and one.size > 0
        difference = float(numpy.abs(one - other).max()) if same else None
        found[name] = {"difference": difference, "largest": float(numpy.abs(one).max()) if one.size else None}
    return found


def run_each(report: Report, program: str, work: Callable[[str, Report], Iterator[tuple[str, Any]]]) -> None:
    """Run a stage's work for each network in a process of its own: what one breaks stays with it.

    The program runs itself with `--network NAME`; `work` then yields (name, result), and each is kept as it comes.

    Raises:
        Skip: no network is here.
        RuntimeError: each that is here failed or was not done in its time.
    """
    if ONE_NETWORK in sys.argv:
        _run_one(report, sys.argv[sys.argv.index(ONE_NETWORK) + 1], work)
        sys.exit(0)
    wanted = report.options.models or NETWORKS
    for number, model in enumerate(wanted):
        share_s = max(5.0, (report.left_s - 3.0) / (len(wanted) - number))
        report.add(model, _run_apart(program, model, share_s))
    skipped = [found["skipped"] for found in report.results.values() if set(found) == {"skipped"}]
    failed = [f"{model}: {found['failed']}" for model, found in report.results.items() if "failed" in found]
    if len(skipped) == len(report.results):
        raise Skip("; ".join(skipped))
    if len(skipped) + len(failed) == len(report.results):
        raise RuntimeError("; ".join(failed))
    report.reason = "; ".join(failed)


def _run_one(report: Report, model: str, work: Callable[[str, Report], Iterator[tuple[str, Any]]]) -> None:
    try:
        for name, result in work(model, report):
            print(MARK + json.dumps([name, result]), flush=True)
    except Skip as reason:
        print(MARK + json.dumps(["skipped", str(reason)]), flush=True)
    except Exception as error:
        print(MARK + json.dumps(["failed", explain(error)]), flush=True)
        raise


def _run_apart(program: str, model: str, limit_s: float) -> dict[str, Any]:
    """What a network's process said, also where it was ended after `limit_s`."""
    arguments = sys.argv[1:]
    place = arguments.index("--limit-s") + 1
    command = [
        sys.executable,
        program,
        *arguments[:place],
        f"{limit_s:.1f}",
        *arguments[place + 1 :],
        ONE_NETWORK,
        model,
    ]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=limit_s, check=False)
        said, ending = done.stdout, "" if done.returncode == 0 else f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        said, ending = late.stdout or b"", f"ended after {limit_s:.0f} s"
    lines = [line for line in said.decode(errors="replace").splitlines() if line.startswith(MARK)]
    found: dict[str, Any] = dict(json.loads(line[len(MARK) :]) for line in lines)
    if ending:
        found.setdefault("failed", ending)
    return found
