"""Run by a model's environment: pictures through the adapter, with weights of a file, as a worker would do it.

    python pictures_ours.py {"model", "config", "checkpoint", "pictures": [[path, ...], ...], "out"}

Each list of pictures is a sample of as many cameras. `out` gets JSON: the records' keys of every sample, by itself and
in one batch, the notes of `load`, facts of the network, and the variables that must be as they were.
"""

import json
import os
from pathlib import Path
from typing import Any

from inside_model import load_adapter, read_request, stop_clocks
from PIL import Image

from worker.adapter import Settings
from worker.measure import Step, encode_result, run_sample
from worker.mmlab.common.libraries import load_library

WATCHED = ("OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")


def main() -> None:
    wanted = read_request()
    before = {name: os.environ.get(name) for name in WATCHED}
    adapter = load_adapter(wanted["model"])
    notes = adapter.load(Settings(config=wanted["config"], checkpoint=wanted["checkpoint"]))
    stop_clocks()
    samples = [make_sample(number, paths) for number, paths in enumerate(wanted["pictures"])]
    outputs = [json.loads(encode_result(run_sample(adapter, one, Step())))["outputs"] for one in samples]
    together = adapter.forward_batch([adapter.prepare(one) for one in samples])
    batched = [adapter.convert(raw, one) for raw, one in zip(together, samples)]  # noqa: B905  as many as samples
    if hasattr(adapter, "_limit"):
        load_library("ultralytics.utils").LOGGER.warning("NMS time limit 0.550s exceeded")
    torch = load_library("torch")
    found = {
        "outputs": outputs,
        "batched": [json.loads(encode_result({"outputs": one}))["outputs"] for one in batched],
        "notes": notes,
        "libraries": adapter.libraries(),
        "heard": heard_limit(adapter),
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "before": before,
        "after": {name: os.environ.get(name) for name in WATCHED},
        "home": sorted(str(path) for path in Path.home().glob(".config/*ltralytics*")),
    }
    Path(wanted["out"]).write_text(json.dumps(found))


def heard_limit(adapter: Any) -> bool:
    """Whether the warning that boxes were dropped reaches the adapter through the library's own logger."""
    try:
        adapter._limit.check()
    except AttributeError:
        return False
    except TimeoutError:
        return True
    return False


def make_sample(number: int, paths: list[str]) -> dict[str, Any]:
    """A sample as an adapter gets it: each picture is a camera's."""
    cameras = {}
    for index, path in enumerate(paths):
        with Image.open(path) as image:
            cameras[f"CAM_{index}"] = {"path": path, "width": image.width, "height": image.height}
    return {"sample_token": f"sample {number}", "scene": "scene", "cameras": cameras}


if __name__ == "__main__":
    main()
