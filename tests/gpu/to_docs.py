"""Turn what the stages left into the tables of the documentation: `python -m tests.gpu.to_docs RESULTS`.

Outputs, and how far operations are from others, go into docs/fidelity.json and from there into docs/fidelity.md; times
and memory go into docs/benchmarks.json and the part of docs/benchmarks.md on GPUs; all under the card's name. Another
card's entries stay; the same card's are replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.models.fidelity_page import render
from tests.models.fidelity_precision import OPERATIONS, in_force
from tests.models.fidelity_text import lay_out, number, table

from admlops.core.paths import find_layout
from admlops.core.storage import write_atomically

HEADING = "## GPUs"
"""The benchmarks' page is written by hand above this line, and by this program from it on."""
INTRODUCTION = f"""{HEADING}

Written by `python -m tests.gpu.to_docs` from what [tests/gpu](../tests/gpu/README.md) measured; the numbers are in
[benchmarks.json](benchmarks.json). Networks have random weights (seed 3) and see synthetic samples in pictures of the
data set's own size: times and memory hardly depend on weights, accuracy does, and none stands here.

Latency follows the protocol `latency.batch1`: the network's call alone, one sample of all cameras at a time, between
CUDA events, with inputs of its own each time, after ten calls that do not count. A percentile stands only where there
are as many calls as it needs (11, 64 and 662 for p50, p90 and p99). Rows of different precision do not compare.
"""
NONE_YET = (
    "No card has been measured by these stages yet. The first look at a GPU is in [fidelity.md](fidelity.md), under "
    "“Measured once on an H200”."
)
OF_OPERATIONS = {"lidar": "stage_7_lidar", "mmcv2": "stage_8_mmcv2"}
"""What the pages call the stages on single operations."""
LIDAR = {
    "voxels": "sweeps of points sorted into voxels",
    "sparse": "two sparse convolutions, as the encoder begins",
    "pooling": "features of pictures summed up by cell",
}
"""Operation of stage 7 → what it does."""
WAYS = {"cuda_graph": "authors, CUDA graph", "compile": "authors, backbone compiled"}
PRECISIONS = {"float32": "float32", "tf32": "TF32", "authors": "authors"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder with the stages' JSON files")
    parser.add_argument("--docs", type=Path, default=find_layout().root / "docs", help="the folder to write to")
    options = parser.parse_args()
    try:
        card = write_docs(options.results, options.docs)
    except (OSError, ValueError) as error:
        print(f"{options.results} holds no results of a GPU: {error}", file=sys.stderr)
        return 2
    print(f"{card}: written to {options.docs}")
    return 0


def write_docs(results: Path, docs: Path) -> str:
    """Add one card's results to the pages in `docs`. Returns the card's name.

    Raises:
        OSError: a stage's file that is needed is missing.
        ValueError: a file is damaged, or the stages ran on no GPU.
    """
    machine = read_stage(results, "stage_0_machine")
    torch = machine["results"].get("torch") or {}
    card = torch.get("card")
    if not card:
        raise ValueError("stage_0_machine.json names no card: the stages ran on a CPU")
    stamp = {"machine": describe(machine["results"]), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    fidelity = read_json(docs / "fidelity.json")
    add_outputs(fidelity, card, stamp, read_optional(results, "stage_3_outputs"))
    add_operations(
        fidelity, card, stamp, {name: read_optional(results, stage) for name, stage in OF_OPERATIONS.items()}
    )
    benchmarks = read_json(docs / "benchmarks.json")
    benchmarks[card] = {**stamp, **collect(results)}
    for name, content, page in (
        ("fidelity", fidelity, render(fidelity)),
        ("benchmarks", benchmarks, _by_hand(docs / "benchmarks.md") + render_benchmarks(benchmarks)),
    ):
        write_atomically(docs / f"{name}.json", json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
        write_atomically(docs / f"{name}.md", page.encode())
    return str(card)


def _by_hand(page: Path) -> str:
    """What of the page stands above the heading of the GPUs; nothing where there is no page."""
    return page.read_text().partition(HEADING)[0] if page.is_file() else ""


def read_stage(results: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / f"{stage}.json").read_text())
    return found


def read_optional(results: Path, stage: str) -> dict[str, Any]:
    """A stage's results; empty where it did not run."""
    try:
        found: dict[str, Any] = read_stage(results, stage)["results"]
    except FileNotFoundError:
        return {}
    return found


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def describe(machine: Mapping[str, Any]) -> str:
    """The machine in a line: torch and its CUDA, the driver, the cores."""
    torch = machine["torch"]
    fields = [part.strip() for part in (machine.get("nvidia_smi") or "").split(",")]
    driver = f", driver {fields[1]}" if len(fields) > 1 else ""
    return f"torch {torch['version']} for CUDA {torch['cuda']}{driver}, {machine['cores']} cores"


def add_outputs(fidelity: dict[str, Any], card: str, stamp: Mapping[str, str], outputs: Mapping[str, Any]) -> None:
    """Put each network's comparison with the CPU into the fidelity page's data."""
    for model, found in outputs.items():
        cases = {name: case for name, case in found.items() if isinstance(case, dict) and name != "largest"}
        if cases:
            fidelity.setdefault(model, {}).setdefault("gpu", {})[card] = {**stamp, "cases": cases}


def add_operations(
    fidelity: dict[str, Any], card: str, stamp: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put how far operations on the card are from what they are held against into the fidelity page's data.

    Times stay out of it. A card that no such stage ran on has no entry, also where it had one.
    """
    lidar = {
        name: {key: value for key, value in one.items() if key not in ("ms", "voxels", "rows")}
        for name, one in found["lidar"].items()
    }
    mmcv = {key: value for key, value in found["mmcv2"].get("operations", {}).items() if key != "ok"}
    entry = {name: one for name, one in (("lidar", lidar), ("mmcv2", mmcv)) if one}
    entries = fidelity.setdefault(OPERATIONS, {}).setdefault("cards", {})
    entries.pop(card, None)
    if entry:
        entries[card] = {**stamp, **entry}
    if not entries:
        del fidelity[OPERATIONS]


def collect(results: Path) -> dict[str, Any]:
    """What the benchmarks' page shows of each stage."""
    return {
        "compile": read_optional(results, "stage_1_compile"),
        "latency": read_optional(results, "stage_4_latency"),
        "reading": read_optional(results, "stage_5_reading"),
        "engines": read_optional(results, "stage_6_engines"),
        "graphs": read_optional(results, "stage_9_graphs"),
        **{name: read_optional(results, stage) for name, stage in OF_OPERATIONS.items()},
    }


def render_benchmarks(benchmarks: Mapping[str, Any]) -> str:
    """The part of the benchmarks' page that is about GPUs."""
    parts = [INTRODUCTION, *(() if benchmarks else (NONE_YET,))]
    for card, found in sorted(benchmarks.items()):
        parts += [f"### {card}", f"{found['machine']}; {found['date']}.", *_card(found)]
    return "\n".join(lay_out(part) for part in parts)


def _card(found: Mapping[str, Any]) -> Iterator[str]:
    yield "#### Latency and memory"
    columns = ("network", "run", "in force", "n", "p50 [ms]", "p90 [ms]", "p99 [ms]", "least [ms]")
    memory = ("allocated [MB]", "reserved [MB]", "card in all [MB]")
    yield table((*columns, *memory), _latency_rows(found["latency"]))
    failed = list(_failures(found["latency"]))
    if failed:
        yield "What did not work, and why:"
        yield table(("network", "run", "reason"), failed)
    yield from _graphs(found.get("graphs", {}))
    if found["reading"]:
        yield "#### Reading ahead"
        yield (
            "Samples a second that processes prepare (read, decode, upstream's pipeline), each with one thread, "
            "beside the network's own rate in the authors' precision."
        )
        counts = sorted({int(k) for one in found["reading"].values() for k in one.get("processes", {})})
        heads = ("network", *(f"{k} processes" if k > 1 else "1 process" for k in counts), "network")
        yield table(heads, _reading_rows(found["reading"], counts))
    engines = [(name, *_times(one), str(one.get("provider", ""))) for name, one in found["engines"].items()]
    if engines:
        yield "#### Exported networks"
        yield table(("file", "n", "p50 [ms]", "p90 [ms]", "p99 [ms]", "least [ms]", "ran on"), engines)
    yield from _operations(found.get("lidar", {}))
    yield from _compiled(found)


def _graphs(found: Mapping[str, Any]) -> Iterator[str]:
    """`--graphs` against the same network without."""
    rows = list(_graph_rows(found))
    if not rows:
        return
    yield "#### With CUDA graphs"
    yield (
        "`--graphs` in the authors' precision: the parts that the adapter names are replayed, the rest is as ever. "
        "Differences are the heads' largest from the same network without graphs, on the same sample."
    )
    columns = (
        "network",
        "replayed",
        "n",
        "p50 without [ms]",
        "p50 with [ms]",
        "times as fast",
        "differs by",
        "not replayed",
    )
    yield table(columns, rows)


def _graph_rows(found: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for model, one in sorted(found.items()):
        if "ratio" not in one:
            reason = str(one.get("failed") or one.get("skipped") or "not done in its time").replace("|", "/")
            yield (model, *("—",) * 6, reason)
            continue
        replayed = ", ".join(sorted(name for name, state in one["parts"].items() if state == "replayed"))
        refused = "; ".join(f"{name}: {why}" for name, why in sorted(one["refused"].items())).replace("|", "/")
        times = [_value(one[way]["p50_ms"], 1) for way in ("eager", "graphs")]
        apart = max((output["difference"] or 0.0 for output in one["outputs"].values()), default=0.0)
        count = str(min(one["eager"]["n"], one["graphs"]["n"]))
        yield (model, replayed or "—", count, *times, f"{one['ratio']:.2f}", number(apart), refused or "—")


def _operations(lidar: Mapping[str, Any]) -> Iterator[str]:
    """Times of the stand-ins of LiDAR networks."""
    rows = [
        (LIDAR[name], _value(one.get("voxels") or one.get("rows"), 0), _value(one["ms"], 1))
        for name, one in sorted(lidar.items())
        if name in LIDAR
    ]
    if rows:
        yield "#### Operations of LiDAR networks"
        yield "The stand-ins in PyTorch, medians of five calls; [fidelity.md](fidelity.md) says how exact they are."
        yield table(("operation", "voxels or rows", "median [ms]"), rows)


def _compiled(found: Mapping[str, Any]) -> Iterator[str]:
    """How long operations took to compile."""
    compiled = found["compile"].get("mmcv_full", {})
    if compiled.get("ok"):
        yield (
            f"mmcv-full's operations were compiled there in {compiled['seconds']:.0f} s "
            f"({compiled['size_mb']:.0f} MB) for {found['compile']['variables']['TORCH_CUDA_ARCH_LIST']}."
        )
    second = found.get("mmcv2", {}).get("mmcv", {})
    if second.get("ok"):
        version = found["mmcv2"].get("operations", {}).get("version", "2")
        size = f"{second['size_mb']:.0f} MB"
        yield f"mmcv {version}'s operations were compiled there in {second['seconds']:.0f} s ({size})."


def _latency_rows(latency: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for model, cases in sorted(latency.items()):
        for name, called in {**PRECISIONS, **WAYS}.items():
            case = cases.get(name, {})
            if not isinstance(case, dict) or "n" not in case:
                continue
            held = case.get("memory", {})
            memory = [_value(held.get(key), 0) for key in ("allocated_mb", "reserved_mb", "device_mb")]
            yield (model, called, in_force(case["in_force"]) if "in_force" in case else "", *_times(case), *memory)


def _times(case: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("p50_ms", "p90_ms", "p99_ms", "min_ms")
    return (str(case.get("n", "—")), *(_value(case.get(name), 1) for name in names))


def _failures(latency: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for model, cases in sorted(latency.items()):
        for key in ("skipped", "failed"):
            if isinstance(cases.get(key), str):
                yield (model, "all", cases[key].replace("|", "/"))
        for name, case in cases.items():
            reason = (case.get("failed") or case.get("skipped")) if isinstance(case, dict) else None
            if reason:
                yield (model, {**PRECISIONS, **WAYS}.get(name, name), str(reason).replace("|", "/"))


def _reading_rows(reading: Mapping[str, Any], counts: Sequence[int]) -> Iterator[Sequence[str]]:
    for model, one in sorted(reading.items()):
        prepared = one.get("processes", {})
        if prepared:
            rates = one.get("network_per_s") or {}
            own = rates.get("authors", next(iter(rates.values()), None))
            yield (model, *(_value(prepared.get(str(k)), 1) for k in counts), _value(own, 1))


def _value(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
