"""Run by PETR's or StreamPETR's environment: samples through the adapter, their tensors and records to files.

    python petr_ours.py {"model", "config" or "", "checkpoint", "draw": seed, "dataroot", "tokens", "calls", "folder"}

A checkpoint of random weights is written first, to `checkpoint`, unless there is one. The tokens are of scenes in
order, and the network is called for the last `calls` of them. Writes ours.npz, with a prefix a sample, and ours.json:
the records' outputs by token.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
WANTED = json.loads(sys.argv[1])
sys.path[:0] = [str(CHECKOUT / "envs" / WANTED["model"]), str(CHECKOUT / "runners"), str(Path(__file__).parent)]

import demo  # noqa: E402
import numpy as np  # noqa: E402

from inside.adapter import Settings  # noqa: E402
from inside.mmlab.libraries import load_library  # noqa: E402
from inside.mmlab.weights import save_random  # noqa: E402
from inside.sample_index import SampleIndex  # noqa: E402

arrays_of = load_library("petr_arrays")


def main() -> None:
    adapter = getattr(demo, WANTED["model"])()
    began = time.perf_counter()
    load(adapter, Path(WANTED["checkpoint"]))
    times = {"load": [time.perf_counter() - began], "prepare": [], "forward": [], "convert": []}
    head: list[dict[str, Any]] = []
    adapter._model.pts_bbox_head.register_forward_hook(lambda module, given, found: head.append(found))
    index = SampleIndex(WANTED["dataroot"], "v1.0-mini")
    arrays, records, scene = {}, {}, ""
    for number, token in enumerate(WANTED["tokens"]):
        sample = index.sample(token)
        sample["context"] = index.context(token)
        if sample["scene"] != scene:
            scene = sample["scene"]
            adapter.start_scene(scene)
        inputs = timed(times["prepare"], adapter.prepare, sample)
        found = arrays_of.describe_inputs(inputs)
        if number >= len(WANTED["tokens"]) - WANTED["calls"]:
            raw = timed(times["forward"], adapter.forward, inputs)
            records[token] = timed(times["convert"], adapter.convert, raw, sample)
            found.update(arrays_of.describe_outputs(raw, head.pop()))
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
    folder = Path(WANTED["folder"])
    np.savez(folder / "ours.npz", **arrays)
    (folder / "ours.json").write_text(json.dumps(records))
    (folder / "times.json").write_text(json.dumps(times))


def load(adapter: Any, checkpoint: Path) -> None:
    """Load the network with the checkpoint, which is drawn and written if there is none."""
    weights = {} if checkpoint.is_file() else {"weights": "random:{}".format(WANTED["draw"])}
    adapter.load(Settings(config=WANTED["config"] or None, checkpoint=str(checkpoint), options=weights))
    if weights:
        save_random(adapter._model, WANTED["draw"], str(checkpoint))


def timed(seconds: list[float], call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's result; how long it took is appended."""
    began = time.perf_counter()
    result = call(*arguments)
    seconds.append(time.perf_counter() - began)
    return result


if __name__ == "__main__":
    main()
