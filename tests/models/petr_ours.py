"""Run by the environment of PETR or one like it: samples through the adapter, their tensors and records to files.

    python petr_ours.py {"model", "config" or "", "checkpoint", "draw": seed, "dataroot", "tokens", "calls", "folder"}

A checkpoint of random weights is written first, to `checkpoint`, unless there is one. The tokens are of scenes in
order, and the network is called for the last `calls` of them. Writes ours.npz, with a prefix a sample, and ours.json:
the records' outputs by token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from inside_model import load_adapter, load_drawn, read_request
from petr_arrays import describe_inputs, describe_outputs

from worker.adapter import Settings
from worker.samples.sample_index import SampleIndex


def main() -> None:
    wanted = read_request()
    adapter = load_adapter(wanted["model"])
    if Path(wanted["checkpoint"]).is_file():
        adapter.load(Settings(config=wanted["config"] or None, checkpoint=wanted["checkpoint"]))
    else:
        load_drawn(adapter, wanted)
    head: list[dict[str, Any]] = []
    adapter._model.pts_bbox_head.register_forward_hook(lambda module, given, found: head.append(found))
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    arrays, records, scene = {}, {}, ""
    for number, token in enumerate(wanted["tokens"]):
        sample = {**index.sample(token), "context": index.context(token)}
        if sample["scene"] != scene:
            scene = sample["scene"]
            adapter.start_scene(scene)
        inputs = adapter.prepare(sample)
        found = describe_inputs(inputs)
        if number >= len(wanted["tokens"]) - wanted["calls"]:
            raw = adapter.forward(inputs)
            records[token] = adapter.convert(raw, sample)
            found.update(describe_outputs(raw, head.pop()))
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
    folder = Path(wanted["folder"])
    np.savez(folder / "ours.npz", **arrays)
    (folder / "ours.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main()
