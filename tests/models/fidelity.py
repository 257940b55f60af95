"""How faithful the adapters and the modern variants are, measured; `make fidelity` writes docs/fidelity.md.

    .venv/bin/python -m tests.models.fidelity [--models MapTR,VAD] [--step STEP]... [--folder DIR]

For every model whose environments are built: `upstream` runs the adapter and upstream's own way on the same samples
with one checkpoint of random weights, and `real` does so on a real key frame where there is one; `variants` runs the
adapter in the classic and the modern environment and measures times and memory; `trace` finds the module that differs
first between the two; `precision` emulates half precision in MapTR's features and positions. What is measured replaces
the entry in docs/fidelity.json; other entries stay, so that machines with and without a GPU can each add theirs. It
takes minutes a model. What a GPU is needed for is in tests/gpu.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tests.models.both_ways import LAYOUT, SEED, run_inside
from tests.models.fidelity_cases import ALL_STEPS, CASES, Case
from tests.models.fidelity_compare import compare, read_times
from tests.models.fidelity_page import render
from tests.models.real_cases import REAL, real_config
from tests.real_frame import FRAME

from admlops.core.errors import AdmlopsError
from admlops.core.storage import write_atomically
from admlops.datasets.base import open_data
from admlops.environments import Environment, find_model
from admlops.health.machine import describe_machine

DATA = LAYOUT.root / "docs" / "fidelity.json"
PAGE = LAYOUT.root / "docs" / "fidelity.md"
REFERENCE = "modern"
"""The variant whose results the others are compared with."""

Results = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES), help="those to measure")
    parser.add_argument("--step", action="append", choices=ALL_STEPS, help="only this (may be repeated)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--folder", type=Path, help="where scenes, checkpoints and arrays go, and stay")
    parser.add_argument("--render", action="store_true", help="measure nothing, only write the page")
    options = parser.parse_args()
    results: Results = json.loads(DATA.read_text()) if DATA.is_file() else {}
    names = [] if options.render else [name.strip() for name in options.models.split(",")]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"there is no case for {', '.join(unknown)}; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory(prefix="admlops-fidelity-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            entry = results.setdefault(name, {})
            for step in options.step or CASES[name].steps:
                print(f"{name}: {step}", flush=True)
                MEASUREMENTS[step](CASES[name], entry, folder, options.device)
                _write(results)
    _write(results)
    print(f"written: {PAGE}")
    return 0


def measure_upstream(case: Case, entry: Results, folder: Path, device: str) -> None:
    """Adapter against upstream's way, in every variant that is built. Upstream's way runs on the CPU here."""
    for variant, environment in environments(case).items():
        outputs = case.upstream(variant, environment, folder)
        entry.setdefault("upstream", {})[variant] = {"outputs": outputs, "config": case.config, **_stamp()}


def measure_real(case: Case, entry: Results, folder: Path, device: str) -> None:
    """The same on a real key frame, on the CPU."""
    if not FRAME.is_dir():
        print(f"{case.model}: no real key frame in {FRAME}", file=sys.stderr)
        return
    for variant, environment in environments(case).items():
        own = folder / f"real-{case.name}-{variant}"
        own.mkdir()
        outputs = REAL[case.name](environment, variant, own)
        entry.setdefault("real", {})[variant] = {"outputs": outputs, "config": real_config(case.name), **_stamp()}


def measure_variants(case: Case, entry: Results, folder: Path, device: str) -> None:
    """The adapter in every variant that is built: its costs, and how far its outputs are from the reference's."""
    arrays = {}
    for variant, environment in environments(case).items():
        arrays[variant] = run_adapter(case, environment, folder, device)
        times = read_times(arrays[variant])
        costs = {**_costs(times), "config": case.config, **_stamp()}
        entry.setdefault("costs", {})[f"{variant} {times['device']}"] = costs
    for variant, own in arrays.items():
        if variant != REFERENCE and REFERENCE in arrays:
            found = compare(own, arrays[REFERENCE])
            entry.setdefault("variants", {})[variant] = {
                "outputs": {name: value for name, value in found.outputs.items() if not name.startswith("input.")},
                "inputs": max((v for name, v in found.outputs.items() if name.startswith("input.")), default=0.0),
                "moved": found.moved,
                "moved_queries": found.moved_queries,
                "exchanged": found.exchanged,
                **_stamp(),
            }


def measure_trace(case: Case, entry: Results, folder: Path, device: str) -> None:
    """Which module differs first, and which differs by itself, between the reference and each other variant."""
    built = environments(case)
    if set(built) == {REFERENCE} or REFERENCE not in built:
        return
    with tempfile.TemporaryDirectory(prefix="trace-", dir=folder) as saved:
        run_adapter(case, built[REFERENCE], folder, device, samples=1, trace={"save": saved})
        for variant in built.keys() - {REFERENCE}:
            rows = {}
            for name, forced in (("carried", False), ("own", True)):
                report = folder / f"{case.model}-{variant}-{name}.json"
                trace = {"against": saved, "forced": forced, "report": str(report)}
                run_adapter(case, built[variant], folder, device, samples=1, trace=trace)
                rows[name] = json.loads(report.read_text())
            entry.setdefault("trace", {})[variant] = {**summarize_trace(rows["carried"], rows["own"]), **_stamp()}


def measure_precision(case: Case, entry: Results, folder: Path, device: str) -> None:
    """What half precision in the features and in the positions does, emulated on a CPU: MapTR alone tests in half."""
    built = environments(case)
    if case.model != "MapTR" or REFERENCE not in built:
        return
    entry["precision"] = {REFERENCE: {"samples": run_precision(case, built[REFERENCE], folder), **_stamp()}}


def run_precision(case: Case, environment: Environment, folder: Path, *, scenes: int = 2) -> list[Results]:
    """What maptr_precision.py finds for the first sample of each of the first scenes."""
    root, version, _ = case.scenes(folder)
    wanted = {
        "config": str(LAYOUT.submodules / case.model / case.config),
        "seed": SEED,
        "dataroot": str(root),
        "version": version,
        "tokens": [scene.samples[0] for scene in open_data(root).scenes()[:scenes]],
        "out": str(folder / "precision.json"),
    }
    run_inside(environment, "maptr_precision.py", wanted)
    found: list[Results] = json.loads((folder / "precision.json").read_text())
    return found


def summarize_trace(carried: list[Results], own: list[Results]) -> Results:
    """The steps in which the relative difference grows, and the modules that differ most by themselves."""
    alone = {row["module"]: row for row in own}
    steps, before = [], 0.0
    for row in (row for row in carried if not row.get("missing")):
        relative = _relative(row)
        if relative > 3 * before and relative > 1e-7:
            steps.append({**_brief(row), "own": _relative(alone.get(row["module"], {}))})
        before = max(before, relative)
    ranked = sorted((row for row in own if not row.get("missing")), key=_relative, reverse=True)
    return {
        "modules": len(carried),
        "largest_carried": max((_relative(row) for row in carried), default=0.0),
        "largest_own": max((_relative(row) for row in own), default=0.0),
        "steps": steps,
        "own": [_brief(row) for row in ranked[:5]],
    }


def run_adapter(
    case: Case, environment: Environment, folder: Path, device: str, *, samples: int | None = None, trace: Any = None
) -> Any:
    """The arrays that run_adapter.py writes in this environment."""
    root, version, tokens = case.scenes(folder)
    out = folder / f"{environment.name}-{device.replace(':', '')}{'-trace' if trace else ''}.npz"
    wanted = {
        "model": case.model,
        "config": str(LAYOUT.submodules / (case.described.source.folder or case.model) / case.config),
        "seed": SEED,
        "dataroot": str(root),
        "version": version,
        "tokens": tokens[:samples],
        "device": device,
        "options": case.options,
        "out": str(out),
        "trace": trace,
    }
    run_inside(environment, "run_adapter.py", wanted)
    return np.load(out)


def environments(case: Case) -> dict[str, Environment]:
    """The variants of a model whose environment is built, the reference first."""
    found = {}
    for variant in sorted(case.described.variants, key=lambda name: name != REFERENCE):
        try:
            environment = find_model(LAYOUT, case.described, variant)
        except AdmlopsError as error:
            print(f"{case.model} {variant}: {error}", file=sys.stderr)
            continue
        if environment is None:
            print(f"{case.model} {variant}: not built", file=sys.stderr)
        else:
            found[variant] = environment
    return found


def _costs(times: Results) -> Results:
    """Seconds and megabytes. The adapter's own share is what surrounds the network and upstream's own pipeline."""
    last = times["samples"][-1]
    own_s = last["prepare_s"] - last["pipeline_s"] + last["convert_s"]
    return {
        "first_sample_s": times["first_sample_s"],
        "load_s": times["load_s"],
        "steady_s": last["prepare_s"] + last["forward_s"] + last["convert_s"],
        "forward_s": last["forward_s"],
        "pipeline_s": last["pipeline_s"],
        "decode_s": last["decode_s"],
        "own_share": own_s / last["forward_s"],
        "peak_host_mb": times["peak_host_mb"],
        "peak_gpu_mb": times["peak_gpu_mb"],
        "device": times["device"],
        "libraries": times["libraries"],
    }


def _relative(row: Results) -> float:
    """The difference as a share of the output's largest value."""
    return float(row.get("largest", 0.0)) / max(float(row.get("scale", 0.0)), 1e-12)


def _brief(row: Results) -> Results:
    inside = row.get("inside", "")
    return {
        "module": row["module"].partition("#")[0],
        "type": row["type"],
        "inside": inside,
        "relative": _relative(row),
    }


def _stamp() -> Results:
    machine = describe_machine()
    return {"machine": f"{machine['cpu']} x {machine['cpu_count']}", "date": f"{datetime.now(UTC):%Y-%m-%d}"}


def _write(results: Results) -> None:
    write_atomically(DATA, json.dumps(results, indent=1, sort_keys=True).encode() + b"\n")
    write_atomically(PAGE, render(results).encode())


MEASUREMENTS = {
    "upstream": measure_upstream,
    "real": measure_real,
    "variants": measure_variants,
    "trace": measure_trace,
    "precision": measure_precision,
}

if __name__ == "__main__":
    sys.exit(main())
