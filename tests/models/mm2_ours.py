"""Run by an mm2 environment: samples through the adapter, their tensors and records to files.

    python mm2_ours.py {"model", "config" or "", "checkpoint", "draw": seed, "dataroot", "tokens", "folder"}

A checkpoint of random weights is written first, to `checkpoint`, unless there is one. Writes ours.npz, with a prefix a
sample, and ours.json: the records' outputs by token.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from inside_model import load_adapter, load_drawn, read_request
from mm2_arrays import describe_inputs, describe_outputs, watch_neck

from worker.adapter import Settings
from worker.samples.sample_index import SampleIndex


def main() -> None:
    wanted = read_request()
    adapter = load_adapter(wanted["model"])
    if Path(wanted["checkpoint"]).is_file():
        adapter.load(Settings(config=wanted["config"] or None, checkpoint=wanted["checkpoint"]))
    else:
        load_drawn(adapter, wanted)
    neck = watch_neck(adapter._model)
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    arrays, records = {}, {}
    for number, token in enumerate(wanted["tokens"]):
        sample = {**index.sample(token), "context": index.context(token)}
        inputs = adapter.prepare(sample)
        found = describe_inputs(inputs)
        raw = adapter.forward(inputs)
        records[token] = adapter.convert(raw, sample)
        found.update(describe_outputs(raw, neck.pop()))
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
    folder = Path(wanted["folder"])
    np.savez(folder / "ours.npz", **arrays)
    (folder / "ours.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main()
