"""What docs/fidelity.md says of precision: half precision emulated on a CPU, and outputs of GPUs against the CPU's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.models.fidelity_text import number, table

CASES = {
    "features": "the pictures' features in half precision, positions single",
    "positions": "positions in half precision, features single",
    "both": "both, and nothing else",
    "adapter": "every module that upstream marks, positions single: what the adapter runs",
    "upstream": "every module that upstream marks, its positions too: what the authors' test runs",
}
"""Case of tests/models/maptr_precision.py → what it is."""
OUTPUTS = ("bev_embed", "points", "logits")
GPU_CASES = {
    "float32": "float32",
    "tf32": "TF32",
    "authors": "authors: half, positions single",
    "authors_half_positions": "half, as upstream runs it",
}
"""Precision of tests/gpu/stage_3_outputs.py → what it is called."""

OPERATIONS = "operations"
"""The key of fidelity.json that holds no network, but operations of tests/gpu by card."""
LIDAR = {
    "voxels": ("voxels", "the CPU's"),
    "sparse": ("sparse convolutions", "the CPU's"),
    "pooling": ("BEVFusion's pooling", "the CPU's"),
}
"""Operation of tests/gpu/stage_7_lidar.py → its name, and what it is held against."""

H200 = (
    ("StreamPETR", "1.7e-05 of 1.7; 2.9e-04 of 51", "5.2e-04; 5.2e-03"),
    ("PETR", "3.6e-06; 5.0e-05 of 51", "3.1e-04; 8.6e-03"),
    ("VAD", "4.3e-05; 1.1e-04; plan and map 4e-04 of 20 m", "—"),
    ("TopoMLP", "—", "1.8e-02 of 51; boxes 0.7 px of 1,540"),
    ("MapTR, in half precision", "bev_embed 2.8 of 4.5; points 0.10; logits 3.4e-02", "—"),
)
"""Measured once, by a script that is not kept: network, TF32 off, TF32 on; logits, then codes or coordinates."""


def describe_precision(results: Mapping[str, Any]) -> Iterator[str]:
    """The section on the precisions of a run, and MapTR's case, where it was measured."""
    yield "## Precision"
    yield (
        "`--precision` says in which arithmetic a network runs on a GPU: `authors` (the default) as the authors' test "
        "runs it, in half precision where their configuration has `fp16` (but for positions, see below), with "
        "PyTorch's own default for TF32; `float32` with neither; `tf32` with TF32 for convolutions and matrix "
        "products; `half` in half precision where the network's modules support it. A CPU computes in float32. What "
        "was really in force stands in every record and in the report; a run is not resumed in another precision, and "
        "times of different precisions are not ranked against each other. Among the catalogue's default "
        "configurations MapTR's alone asks for half precision."
    )
    found = results.get("MapTR", {}).get("precision", {})
    if not found:
        return
    yield "### Where half precision reaches in MapTR"
    yield (
        "Upstream marks two places for half precision (mmcv's `auto_fp16`): the pictures' features, and its BEV "
        "encoder. The encoder makes its reference points in the type of its queries, so in half precision every "
        "position is rounded to eleven bits before it is projected into the pictures, although the projection itself "
        "(`point_sampling`) is marked to be single. A rounding of up to 2.4e-04 of the map's 30 by 60 m is up to "
        "1.5 cm; it decides between whole pixels, because MapTR's attention takes pixels by `.round().long()`. "
        "Everything after the encoder is single. The adapter keeps the reference points in float32 in every "
        "precision: the projection and the indices follow their type. `--option positions=as-upstream` gives the "
        "authors' rounding, to repeat what they ran."
    )
    yield (
        "Measured on a CPU with an emulation of CUDA's autocast (inputs of convolutions and products rounded to "
        "float16, sums in float32, results rounded), so a GPU's own kernels have no part in it; random weights "
        f"(seed 3), synthetic scenes. Differences from single precision ({_machines(found)}):"
    )
    yield table(("sample", "in half precision", *OUTPUTS, "positions on another pixel"), _precision_rows(found))
    yield _conclude(found)


def _precision_rows(found: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for _, entry in sorted(found.items()):
        for sample, cases in enumerate(entry["samples"], start=1):
            for case, what in CASES.items():
                one = cases[case]
                values = [f"{number(one[name])} of {one[f'{name}_largest']:.2g}" for name in OUTPUTS]
                yield (str(sample), what, *values, f"{one['moved']:,} of {one['positions']:,}")


def _conclude(found: Mapping[str, Any]) -> str:
    """What the numbers say, computed from them."""
    samples = [cases for entry in found.values() for cases in entry["samples"]]
    ratios = [cases["positions"]["bev_embed"] / max(cases["features"]["bev_embed"], 1e-12) for cases in samples]
    parts = ("positions", "features")
    says = "Positions explain the difference and features do not"
    if min(ratios) <= 1:
        parts, says = ("features", "positions"), "Positions do not explain the difference"
        ratios = [1 / max(ratio, 1e-12) for ratio in ratios]
    upstream = [cases["upstream"] for cases in samples]
    bev = f"{min(one['bev_embed'] for one in upstream):.2g} to {max(one['bev_embed'] for one in upstream):.2g}"
    points = f"{min(one['points'] for one in upstream):.2g} to {max(one['points'] for one in upstream):.2g}"
    return (
        f"{says}: half precision in {parts[0]} alone moves the BEV features "
        f"{min(ratios):,.0f} to {max(ratios):,.0f} times as far as half precision in {parts[1]} alone. "
        f"Upstream's way gives {bev} in the BEV features and {points} in the points here; an H200 gave 2.8 and "
        "0.10 on another scene (below). Whether MapTR in single precision agrees on a GPU with the "
        "CPU, as the other networks do, only a GPU can show: stage 3 of [tests/gpu](../tests/gpu/README.md) measures "
        "it. The authors trained and tested with rounded positions; what single ones do to their mAP needs their "
        "weights and nuScenes."
    )


def _machines(found: Mapping[str, Any]) -> str:
    return ", ".join(sorted({f"{entry['machine']}, {entry['date']}" for entry in found.values()}))


def describe_gpus(results: Mapping[str, Any]) -> Iterator[str]:
    """The section on GPUs against the CPU: what tests/gpu left, card by card, and what was measured before it."""
    yield "## On a GPU"
    networks = {card for entry in results.values() for card in entry.get("gpu", {})}
    operations = results.get(OPERATIONS, {}).get("cards", {})
    for card in sorted(networks | set(operations)):
        yield f"### {card}"
        if card in networks:
            yield from _describe_networks(results, card)
        if card in operations:
            yield from _describe_operations(operations[card])
    yield "### Measured once on an H200 (2026-11-29), random weights"
    yield (
        "One NVIDIA H200, driver 580.159.04, PyTorch 2.11 for CUDA 13, mmcv-full 1.7.2 compiled there; batch 1, a "
        "synthetic scene at 1600 by 900, the catalogue's default configurations. Differences from the CPU of the "
        "heads' logits, then of their codes or coordinates:"
    )
    yield table(("network", "TF32 off", "TF32 on, PyTorch's default for convolutions"), H200)
    yield (
        "MapTR ran there in half precision, positions included; it has not been run on a GPU in float32, nor with "
        "positions single."
    )


def _describe_networks(results: Mapping[str, Any], card: str) -> Iterator[str]:
    yield (
        "The heads' outputs on the card against the CPU's in float32, from the same random weights (seed 3) and "
        f"synthetic sample, by [tests/gpu](../tests/gpu/README.md) ({_circumstances(results, card)}). Each is the "
        "largest difference, of the largest value."
    )
    yield table(("network", "precision", "in force", "largest differences"), _gpu_rows(results, card))


def _describe_operations(entry: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Operations of LiDAR networks on the card: the stand-ins in PyTorch against the CPU's, and mmcv's, compiled "
        f"for the card, against the stand-ins there ({entry['machine']}, {entry['date']}). Differences are the largest."
    )
    yield table(("operation", "held against", "difference"), _operation_rows(entry))


def _operation_rows(entry: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for name, (called, against) in LIDAR.items():
        one = entry.get("lidar", {}).get(name)
        if one is not None:
            yield (called, against, _distance(one.get("difference"), ok=one["ok"]))
    mmcv = entry.get("mmcv2", {})
    library = f"mmcv {mmcv.get('version', '2')}'s"
    if "voxels" in mmcv:
        yield (f"{library} voxels", "the stand-in's", _distance(None, ok=mmcv["voxels"]))
    if mmcv.get("sparse") is not None:
        yield (f"{library} sparse convolutions", "the stand-in's", _distance(mmcv["sparse"], ok=True))


def _distance(difference: float | None, *, ok: bool) -> str:
    """How far an operation is from another: equal bits where it must have them and no difference was taken."""
    if difference is None:
        return "equal to the bit" if ok else "NOT EQUAL"
    return number(difference) + ("" if ok else ", MISSED")


def _circumstances(results: Mapping[str, Any], card: str) -> str:
    entry = next(entry["gpu"][card] for entry in results.values() if card in entry.get("gpu", {}))
    return f"{entry['machine']}, {entry['date']}"


def _gpu_rows(results: Mapping[str, Any], card: str) -> Iterator[Sequence[str]]:
    for model, entry in sorted(results.items()):
        cases = entry.get("gpu", {}).get(card, {}).get("cases", {})
        for case, called in GPU_CASES.items():
            one = cases.get(case)
            if one is None:
                continue
            if "failed" in one:
                yield (model, called, "", f"failed: {one['failed']}")
            else:
                yield (model, called, in_force(one["in_force"]), _largest(one["outputs"]))


def in_force(found: Mapping[str, Any]) -> str:
    """What a worker reported, in words, such as `half, TF32 in convolutions`."""
    tf32 = [what for key, what in (("tf32_convolutions", "convolutions"), ("tf32_matmul", "products")) if found[key]]
    return str(found["activations"]) + (f", TF32 in {' and '.join(tf32)}" if tf32 else "")


def _largest(outputs: Mapping[str, Mapping[str, Any]], *, shown: int = 3) -> str:
    """The outputs that differ most as a share of their largest value."""
    differing = {name: one for name, one in outputs.items() if one["difference"] and one["largest"]}
    ranked = sorted(differing, key=lambda name: -differing[name]["difference"] / differing[name]["largest"])
    said = [f"{name} {number(differing[name]['difference'])} of {differing[name]['largest']:.2g}" for name in ranked]
    other = [f"{name}: other shapes" for name, one in outputs.items() if one["difference"] is None]
    return "; ".join([*said[:shown], *other]) or "0"
