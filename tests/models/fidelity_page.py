"""docs/fidelity.md from docs/fidelity.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.models.fidelity_precision import describe_gpus, describe_precision
from tests.models.fidelity_text import lay_out, number, table

TOLERANCE_UPSTREAM = 1e-4
TOLERANCE_VARIANTS = 1e-3
ROUNDING = 1e-5
"""A module whose own results differ by less, as a share of its largest value, differs by float32's rounding."""

NOTES = {
    "MapTR": "Points are coordinates between 0 and 1, times 30 and 60 m: the largest difference in metres is 60 times "
    "that of the head's coordinates.",
}
"""What the outputs' range is, where it explains a number."""

INTRODUCTION = """# Fidelity

Do the adapters give what the authors' code gives, and does the modern stack give what the authors' gives? This page is
written by `make fidelity`; the numbers are in [fidelity.json](fidelity.json).

No weights and no data set are needed: every network is filled with random weights (seed 3, the same tensors in every
environment, saved and loaded as a checkpoint) and sees synthetic scenes in pictures of the data set's own size. The
configuration is that of the catalogue's default weights. Random weights keep all the signal (variance 1 / inputs), so
that a difference anywhere in the network reaches its outputs. Differences are the largest absolute ones over all values
and samples; coordinates are metres, angles radians, scores and logits plain numbers, boxes of pictures pixels.
"""


def render(results: Mapping[str, Any]) -> str:
    """The page's text."""
    parts = [INTRODUCTION, *_upstream(results), *_variants(results), *_traces(results), *describe_precision(results)]
    parts += [*describe_gpus(results), *_costs(results)]
    return "\n".join(lay_out(part) for part in parts)


def _upstream(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## The adapter against the authors' own way"
    yield (
        "Upstream's converter writes its info file, upstream's data set class, pipeline and collation make the batch, "
        "mmcv's loader fills the model, and the model is called as `tools/test.py` calls it. The adapter gets the "
        f"same sample and checkpoint. The bar is {TOLERANCE_UPSTREAM:g} on every output."
    )
    yield (
        "Detectors of the variant mm2 go mmdetection3d 1.4's own way: its converters in their second version, its data "
        "set class, mmengine's loader and `test_step`. Of the sweeps the nearest are taken, as its loader's "
        "`test_mode` does, and they lie where it lays them. What exists for CUDA alone has the same formulation in "
        "PyTorch in both ways, which [LiDAR models](lidar.md) holds against references; `neck` is every seventh of the "
        "features before the head."
    )
    yield (
        "Networks of single pictures see two or three pictures, each of another size, and go against their library's "
        "own call for a picture: mmdetection's `inference_detector`, ultralytics' `predict`, the repository's, "
        "torchvision's, detectron2's and timm's own functions. Corners are pixels."
    )
    yield from _differences(results, "upstream")
    if not any(_entries(results, "real")):
        return
    yield "### On a real key frame"
    yield (
        "The same on one real key frame of nuScenes, for its pictures and its calibration. TopoMLP sees it as a frame "
        "of OpenLane-V2's subset B, by the configuration for that subset; for VAD, whose converter refuses a scene of "
        "one sample, the vehicle drives on from it."
    )
    yield from _differences(results, "real")


def _differences(results: Mapping[str, Any], step: str) -> Iterator[str]:
    rows = []
    for model, variant, found in _entries(results, step):
        outputs = found["outputs"]
        worst = max(sorted(outputs), key=outputs.__getitem__)
        verdict = "held" if outputs[worst] <= TOLERANCE_UPSTREAM else "MISSED"
        same = sum(value == 0 for value in outputs.values())
        equal = f"{same} of {len(outputs)}"
        largest = f"{number(outputs[worst])} ({worst})" if outputs[worst] else "0"
        rows.append((model, variant, f"`{found['config']}`", equal, largest, verdict))
    yield table(("model", "variant", "configuration", "outputs equal to the bit", "largest difference", "bar"), rows)
    yield "Every output, by its largest difference:"
    listed = []
    for model, variant, found in _entries(results, step):
        said = ", ".join(f"{name} {number(value)}" for name, value in sorted(found["outputs"].items()))
        listed.append((model, variant, said))
    yield table(("model", "variant", "outputs"), listed)


def _variants(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## Classic against modern"
    yield (
        "The same adapter, sample and weights in both environments: torch 1.9.1 with mmcv-full 1.4 or 1.6, and torch "
        f"2.10 with mmcv-full 1.7.2. The bar is {TOLERANCE_VARIANTS:g}, or the operator that makes the difference is "
        "named below. Lists are sorted by score, and rows whose scores differ by less than the rounding change "
        "places, as do the queries that StreamPETR carries to the next frame: rows are matched before they are "
        "compared."
    )
    rows = []
    for model, variant, found in _entries(results, "variants"):
        outputs = {name: value for name, value in found["outputs"].items() if value is not None}
        for kind, what in (("head.", "head"), ("output.", "decoded"), ("record.", "record")):
            own = {name: value for name, value in outputs.items() if name.startswith(kind)}
            if own:
                worst = max(sorted(own), key=own.__getitem__)
                beyond = "explained below" if variant in results[model].get("trace", {}) else "MISSED"
                verdict = "held" if own[worst] <= TOLERANCE_VARIANTS else beyond
                places = f"{found['moved']} / {found['exchanged']}" if kind == "output." else ""
                if kind == "head." and found.get("moved_queries"):
                    places = f"{found['moved_queries']} / 0"
                rows.append((model, variant, what, number(own[worst]), f"`{worst}`", places, verdict))
    columns = ("model", "variant", "what", "largest difference", "where", "rows moved / exchanged", "bar")
    yield table(columns, rows)


def _traces(results: Mapping[str, Any]) -> Iterator[str]:
    entries = list(_entries(results, "trace"))
    if not entries:
        return
    yield "## Where classic and modern part"
    yield (
        "Every module's output is kept in the modern environment and compared in the classic one, in two ways. "
        "*Carried*: the difference as it has grown on the way. *Own*: every module is handed the modern results of "
        "the modules before it, so what is left is the module's own arithmetic. Both as a share of the output's "
        "largest value; float32 resolves 1.2e-7."
    )
    for model, variant, found in entries:
        yield f"### {model} {variant}"
        yield f"{_explain(found)} {NOTES.get(model, '')}"
        rows = [
            (f"`{step['module']}`", step["type"], step["inside"], number(step["relative"]), number(step["own"]))
            for step in found["steps"]
        ]
        yield "The steps in which the carried difference trebles:"
        yield table(("module", "type", "inside", "carried", "own"), rows)
        alone = [(f"`{one['module']}`", one["type"], number(one["relative"])) for one in found["own"]]
        yield "The modules that differ most by themselves:"
        yield table(("module", "type", "own"), alone)


def _explain(found: Mapping[str, Any]) -> str:
    first = found["own"][0] if found["own"] else {"type": "none", "module": "none"}
    if found["largest_own"] <= ROUNDING:
        return (
            f"No operator computes anything else: of {found['modules']} module calls the largest own difference is "
            f"{number(found['largest_own'])}\n({first['type']}, `{first['module']}`), which is the order in which "
            "float32 sums are taken. The difference of the outputs is this rounding, carried through the network to "
            f"{number(found['largest_carried'])} of the largest value, and multiplied by the outputs' range."
            + _where(found)
        )
    return (
        f"`{first['module']}` ({first['type']}) differs by {number(found['largest_own'])} of its largest value from "
        "the same inputs: more than rounding. Its inputs decide between neighbours (a pixel, an index), or it is "
        "computed another way."
    )


def _where(found: Mapping[str, Any]) -> str:
    """Where rounding grows although no module adds any: in the code of an attention between its modules."""
    grown = [step for step in found["steps"] if step["own"] < 0.1 * step["relative"] and step["inside"]]
    if not grown:
        return ""
    places = ", ".join(dict.fromkeys(f"{step['inside']} (`{step['module'].rpartition('.')[0]}`)" for step in grown))
    return (
        f" It grows in {places}: positions that carry the rounding sample features that change from pixel to pixel. "
        "From equal positions the sampling itself gives equal results, as the column *own* shows."
    )


def _costs(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## Time and memory"
    yield (
        "*First sample*: from the start of the process (imports, network, checkpoint) to its first record. *Steady*: "
        "one sample, read, forward and converted. *Pipeline*: upstream's own reading, resizing and normalising of the "
        "pictures, in brackets the decoding alone. *Adapter's share*: all else that surrounds the network's call, as a "
        "share of that call; the bar is a twentieth. Memory is the process's peak, on a GPU torch's as well. A CPU may "
        "have had other work beside: its seconds are upper bounds."
    )
    rows = []
    for model, key, found in _entries(results, "costs"):
        variant, _, device = key.partition(" ")
        where = found["machine"] if device == "cpu" else device
        gpu = found["peak_gpu_mb"]
        memory = f"{found['peak_host_mb']:.0f} MB" + ("" if gpu is None else f", GPU {gpu:.0f} MB")
        times = [f"{found[name]:.2f} s" for name in ("first_sample_s", "steady_s", "forward_s")]
        times.append(f"{found['pipeline_s']:.2f} s ({found['decode_s']:.2f} s)")
        rows.append((model, variant, where, *times, f"{100 * found['own_share']:.1f} %", memory))
    columns = (
        "model",
        "variant",
        "device",
        "first sample",
        "steady",
        "forward",
        "pipeline (decoding)",
        "adapter's share",
        "memory",
    )
    yield table(columns, rows)


def _entries(results: Mapping[str, Any], step: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for model, found in sorted(results.items()):
        for variant, entry in sorted(found.get(step, {}).items(), reverse=True):
            yield model, variant, entry
