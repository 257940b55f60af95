"""Run by MapTR's or MapTRv2's environment: the sample of maptr_upstream.py through the adapter, its tensors to a file.

    python maptr_ours.py {"model", "config", "checkpoint", "draw": seed, "dataroot", "token", "folder"}

A checkpoint of random weights is written first, to `checkpoint`.
"""

from pathlib import Path

import numpy as np
from inside_model import describe_bev_inputs, load_adapter, load_drawn, read_request

from worker.samples.sample_index import SampleIndex


def main() -> None:
    wanted = read_request()
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    sample = {**index.sample(wanted["token"]), "context": index.context(wanted["token"])}
    adapter = load_adapter(wanted["model"])
    load_drawn(adapter, wanted)
    adapter.start_scene(sample["scene"])
    inputs = adapter.prepare(sample)
    arrays = describe_bev_inputs(inputs, can_bus="can_bus")
    raw = adapter.forward(inputs)
    arrays.update({key: np.asarray(value) for key, value in raw[0]["pts_bbox"].items()})
    np.savez(Path(wanted["folder"]) / "ours.npz", **arrays)


if __name__ == "__main__":
    main()
