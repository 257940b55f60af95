# ruff: noqa: UP006, UP035  the classic environments have Python 3.8
"""Run by a model's environment: samples of one scene through the adapter; what goes in and comes out, to a file.

    python run_adapter.py {"model", "config", "seed", "dataroot", "version", "tokens", "out", "device", "options"}

The weights are drawn from the seed. `out` gets the arrays, named by sample and place (`0/input.img`,
`0/head.pts_bbox_head.all_cls_scores`, `0/output.pts_bbox.scores_3d`, `0/record.map_elements.points`), and `times`, a
JSON text. With `trace`, see trace_modules.py.
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import zlib  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Dict, Iterator, List, Tuple  # noqa: E402

import numpy as np  # noqa: E402
from inside_model import load_adapter, read_request  # noqa: E402
from trace_modules import traced  # noqa: E402

from worker.adapter import Settings  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.runtimes.base import load_runtime  # noqa: E402
from worker.samples.openlane import OpenLane  # noqa: E402
from worker.samples.sample_index import SampleIndex  # noqa: E402


def main() -> None:
    wanted = read_request()
    adapter = load_adapter(wanted["model"])
    times: Dict[str, Any] = {"samples": []}
    adapter.load(
        Settings(
            device=wanted.get("device", "cpu"),
            config=wanted["config"],
            options={"weights": "random:{}".format(wanted["seed"]), **wanted.get("options", {})},
        )
    )
    times["load_s"] = time.perf_counter() - BEGAN
    arrays: Dict[str, Any] = {}
    samples = read_samples(wanted["dataroot"], wanted["version"], wanted["tokens"])
    adapter.start_scene(samples[0]["scene"])
    heads = watch_heads(adapter)
    with traced(adapter, wanted.get("trace")):
        for number, sample in enumerate(samples):
            arrays.update(run_one(adapter, sample, number, times))
            for head, given in heads.items():
                arrays.update(name_arrays(f"{number}/head.{head}", given))
    times["peak_host_mb"] = peak_host_mb()
    runtime = load_runtime(None)
    times["peak_gpu_mb"] = runtime.peak_mb()
    times["device"] = runtime.device_name(wanted.get("device", "cpu"))
    times["libraries"] = adapter.libraries()
    arrays["times"] = np.array(json.dumps(times))
    np.savez(wanted["out"], **arrays)


def peak_host_mb() -> float:
    """The most memory that this process has held [MB]; getrusage would count its parent's as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def read_samples(dataroot: str, version: str, tokens: List[str]) -> List[Dict[str, Any]]:
    """The samples as an adapter gets them, of nuScenes or of OpenLane-V2."""
    if version.startswith("subset"):
        frames = OpenLane(dataroot, version)
        return [frames.sample(token) for token in tokens]
    index = SampleIndex(dataroot, version)
    return [{**index.sample(token), "context": index.context(token)} for token in tokens]


def watch_heads(adapter: Any) -> Dict[str, Any]:
    """What the network's heads gave at their last call: logits and codes, before they are decoded."""
    found: Dict[str, Any] = {}
    for name, module in adapter._model.named_children():
        if "head" in name:
            module.register_forward_hook(lambda _module, _given, gave, name=name: found.update({name: gave}))
    return found


def run_one(adapter: Any, sample: Dict[str, Any], number: int, times: Dict[str, Any]) -> Dict[str, Any]:
    """One sample's arrays; its times [s] go into `times`."""
    with TimeIn(load_library("cv2"), "imread", "imdecode") as decoding, TimeIn(adapter._inputs, "_compose") as read:
        began = time.perf_counter()
        inputs = adapter.prepare(sample)
        adapter.synchronize()
    prepared = time.perf_counter()
    arrays = name_arrays(f"{number}/input", inputs)  # copies: upstream changes its inputs in place
    called = time.perf_counter()
    raw = adapter.forward(inputs)
    adapter.synchronize()
    returned = time.perf_counter()
    arrays.update(name_arrays(f"{number}/output", raw))
    converting = time.perf_counter()
    record = adapter.convert(raw, sample)
    ended = time.perf_counter()
    arrays.update(name_arrays(f"{number}/record", record))
    times["samples"].append(
        {
            "prepare_s": prepared - began,
            "decode_s": decoding.seconds,
            "pipeline_s": read.seconds,
            "forward_s": returned - called,
            "convert_s": ended - converting,
        }
    )
    if number == 0:
        times["first_sample_s"] = times["load_s"] + (prepared - began) + (returned - called) + (ended - converting)
    return arrays


class TimeIn:
    """Adds up the seconds that a callable attribute of an object takes while the block runs."""

    def __init__(self, owner: Any, *names: str) -> None:
        self.seconds = 0.0
        self._owner = owner
        self._own = {name: getattr(owner, name) for name in names if hasattr(owner, name)}

    def __enter__(self) -> "TimeIn":
        for name, own in self._own.items():
            setattr(self._owner, name, self._timed(own))
        return self

    def __exit__(self, *_: object) -> None:
        for name, own in self._own.items():
            setattr(self._owner, name, own)

    def _timed(self, own: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return own(*arguments, **keywords)
            finally:
                self.seconds += time.perf_counter() - began

        return call


def name_arrays(path: str, value: Any) -> Dict[str, Any]:
    """Every array in a nested structure, copied, by its path: `0/output.pts_bbox.scores_3d`."""
    return dict(walk(path, value))


def walk(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """(path, array) of tensors, arrays, numbers, texts and boxes in lists and dictionaries."""
    if hasattr(value, "tensor") and not isinstance(value, type):  # boxes of mmdet3d
        value = value.tensor
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        yield path, value.detach().cpu().numpy().copy()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield path, value.copy()
    elif isinstance(value, (bool, int, float, np.number)):
        yield path, np.asarray(value, dtype=np.float64)
    elif isinstance(value, str):
        yield path, np.asarray(float(zlib.crc32(value.encode())))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(f"{path}.{key}", item)
    elif isinstance(value, (list, tuple)):
        yield from walk_list(path, value)


def walk_list(path: str, items: Any) -> Iterator[Tuple[str, Any]]:
    """Items of one structure become one array for each of its parts; a list of one adds no step to the path."""
    if len(items) == 1:
        yield from walk(path, items[0])
        return
    parts = [dict(walk(path, item)) for item in items]
    if parts and all(part.keys() == parts[0].keys() for part in parts):
        for key in parts[0]:
            arrays = [part[key] for part in parts]
            if len({array.shape for array in arrays}) == 1:
                yield key, np.stack(arrays)
                continue
            for number, array in enumerate(arrays):
                yield f"{key}.{number}", array
        return
    for number, part in enumerate(parts):
        for key, array in part.items():
            yield f"{key}.{number}", array


if __name__ == "__main__":
    main()
