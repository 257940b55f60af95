"""Run by PETR's or StreamPETR's environment: samples through the adapter, their tensors and records to files.

    python petr_ours.py {"model", "config" or "", "checkpoint", "draw": seed, "dataroot", "tokens", "folder"}

A checkpoint of random weights is written first, to `checkpoint`, unless there is one. The tokens are of whole scenes,
in order. Writes ours.npz, with a prefix a sample, and ours.json: the records' outputs by token.
"""

import json
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WANTED = json.loads(sys.argv[1])
sys.path[:0] = [str(CHECKOUT / "envs" / WANTED["model"]), str(CHECKOUT / "runners"), str(Path(__file__).parent)]

import demo  # noqa: E402
import numpy as np  # noqa: E402
from petr_arrays import describe_inputs, describe_outputs  # noqa: E402

from inside.adapter import Settings  # noqa: E402
from inside.mmlab.weights import save_random  # noqa: E402
from inside.sample_index import SampleIndex  # noqa: E402


def main() -> None:
    adapter = getattr(demo, WANTED["model"])()
    checkpoint = Path(WANTED["checkpoint"])
    weights = {} if checkpoint.is_file() else {"weights": "random:{}".format(WANTED["draw"])}
    began = time.perf_counter()
    adapter.load(Settings(config=WANTED["config"] or None, checkpoint=str(checkpoint), options=weights))
    times = {"load": time.perf_counter() - began, "prepare": [], "forward": [], "convert": []}  # type: Dict[str, Any]
    if weights:
        save_random(adapter._model, WANTED["draw"], str(checkpoint))
    head = []  # type: List[Dict[str, Any]]
    adapter._model.pts_bbox_head.register_forward_hook(lambda module, given, found: head.append(found))
    index = SampleIndex(WANTED["dataroot"], "v1.0-mini")
    arrays, records, scene = {}, {}, ""
    for number, token in enumerate(WANTED["tokens"]):
        sample = index.sample(token)
        sample["context"] = index.context(token)
        if sample["scene"] != scene:
            scene = sample["scene"]
            adapter.start_scene(scene)
        moments = [time.perf_counter()]
        inputs = adapter.prepare(sample)
        moments.append(time.perf_counter())
        found = describe_inputs(inputs)
        moments[1:] = [moments[1], time.perf_counter()]
        raw = adapter.forward(inputs)
        moments.append(time.perf_counter())
        records[token] = adapter.convert(raw, sample)
        moments.append(time.perf_counter())
        found.update(describe_outputs(raw, head.pop()))
        arrays.update({f"{number}/{name}": value for name, value in found.items()})
        for name, begin, end in (("prepare", 0, 1), ("forward", 2, 3), ("convert", 3, 4)):
            times[name].append(moments[end] - moments[begin])
    folder = Path(WANTED["folder"])
    np.savez(folder / "ours.npz", **arrays)
    (folder / "ours.json").write_text(json.dumps(records))
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main()
