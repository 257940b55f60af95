# ruff: noqa: UP006, UP035  the classic environments have Python 3.8
"""Run by MapTR's modern environment: samples on a CPU, in single precision and with half precision in its places.

    python maptr_precision.py {"config", "seed", "dataroot", "version", "tokens", "out"}

mmcv's `auto_fp16` asks CUDA's autocast for half precision. Here an emulation answers it, by the rules that PyTorch
documents for CUDA: convolutions and products take their inputs rounded to float16, add up in float32 as tensor cores
do, and round what they give; sums, norms and softmax are single; everything else has the type of what it gets. `out`
gets JSON: for each sample and case the largest difference from single precision of the BEV features, the points and the
logits, the largest values, and how many visible positions fall on another whole pixel.
"""

import contextlib
import copy
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
from inside_model import load_adapter, read_request
from run_adapter import read_samples

from worker.adapter import Settings
from worker.mmlab.common.libraries import load_library
from worker.mmlab.v1.precision import half_modules, keep_positions_single

HALF = ("conv2d", "linear", "matmul", "__matmul__", "bmm", "addmm", "baddbmm", "batch_norm")
"""What CUDA's autocast gives in half precision; batch normalisation gives what the convolution before it gave."""
SINGLE = ("softmax", "layer_norm", "sum", "norm", "exp", "log", "pow", "grid_sample")
"""What it gives in single; `grid_sample` stands for the deformable attention, whose CUDA function asks for float32."""
OUTPUTS = {"bev_embed": "bev_embed", "points": "all_pts_preds", "logits": "all_cls_scores"}
"""What is compared → its name in the head's output."""

Outputs = Dict[str, Any]


def main() -> None:
    wanted = read_request()
    adapter = load_adapter("MapTR")
    samples = read_samples(wanted["dataroot"], wanted["version"], wanted["tokens"])
    weights = {"weights": "random:{}".format(wanted["seed"])}
    adapter.load(Settings(device="cpu", config=wanted["config"], options=weights, precision="float32"))
    network = adapter._model
    results: List[Dict[str, Any]] = []
    for sample in samples:
        single: Outputs = {}
        results.append({})
        for name, change in CASES.items():
            adapter._model = copy.deepcopy(network)
            change(adapter._model)
            with emulated():
                found = run(adapter, sample)
            single = single or found
            results[-1][name] = compare(single, found)
            print(name, results[-1][name], file=sys.stderr, flush=True)
    Path(wanted["out"]).write_text(json.dumps(results))


def emulated() -> Any:
    """The mode under which `auto_fp16` has its way on a CPU; its switch goes into mmcv's place for autocast."""
    torch = load_library("torch")
    modes = load_library("torch.overrides")

    def cast(value: Any, kind: Any) -> Any:
        if torch.is_tensor(value):
            return value.to(kind) if value.is_floating_point() else value
        return type(value)(cast(item, kind) for item in value) if isinstance(value, (list, tuple)) else value

    class Emulation(modes.TorchFunctionMode):  # type: ignore[misc, name-defined]
        enabled = False

        def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
            named = named or {}
            name = getattr(function, "__name__", "")
            if not self.enabled or name not in HALF + SINGLE:
                return function(*given, **named)
            if name in HALF:
                given, named = cast(given, torch.float16), {key: cast(v, torch.float16) for key, v in named.items()}
            given, named = cast(given, torch.float32), {key: cast(v, torch.float32) for key, v in named.items()}
            result = function(*given, **named)
            return cast(result, torch.float16) if name in HALF else result

    mode = Emulation()

    @contextlib.contextmanager
    def autocast(enabled: bool = True) -> Iterator[None]:
        before, mode.enabled = mode.enabled, enabled
        try:
            yield
        finally:
            mode.enabled = before

    load_library("mmcv.runner.fp16_utils").autocast = autocast
    return mode


def run(adapter: Any, sample: Dict[str, Any]) -> Outputs:
    """The head's outputs, and the whole pixel of every position in every picture."""
    found: Outputs = {}
    head = adapter._model.pts_bbox_head

    def keep(_module: Any, _given: Any, gave: Any) -> None:
        found.update({name: gave[key].detach().double().numpy() for name, key in OUTPUTS.items()})

    hook = head.register_forward_hook(keep)
    encoder = head.transformer.encoder
    own = encoder.point_sampling

    def sampled(*arguments: Any, **keywords: Any) -> Any:
        positions, visible = own(*arguments, **keywords)
        found.update(positions=positions.detach().float().numpy(), visible=visible.numpy() > 0)
        return positions, visible

    encoder.point_sampling = sampled
    adapter.start_scene(sample["scene"])
    inputs = adapter.prepare(sample)
    height, width = inputs["img"][0].shape[-2:]
    found["size"] = np.array([width, height]) / 32  # of the only level of features, as the configuration makes it
    adapter.forward(inputs)
    hook.remove()
    return found


def compare(single: Outputs, other: Outputs) -> Dict[str, Any]:
    """Largest differences, largest values, and the visible positions that moved to another pixel."""
    moved = pixels(single) != pixels(other)
    seen = single["visible"] & other["visible"]
    result: Dict[str, Any] = {
        "positions": int(single["visible"].sum()),
        "moved": int((moved.any(-1) & seen).sum()),
        "seen_by_one": int((single["visible"] != other["visible"]).sum()),
    }
    for name in OUTPUTS:
        result[name] = float(np.abs(single[name] - other[name]).max())
        result[name + "_largest"] = float(np.abs(single[name]).max())
    return result


def pixels(outputs: Outputs) -> Any:
    """The whole pixels of the positions, which are shares of the picture's width and height."""
    return np.round(outputs["positions"] * outputs["size"].astype(np.float32))


def no_change(model: Any) -> None:
    """Single precision."""


def half_features(model: Any) -> None:
    """Half precision in the pictures' features alone: the detector's own marked method."""
    model.fp16_enabled = True


def half_positions(model: Any) -> None:
    """Reference points rounded to half precision, and single precision everywhere else."""
    encoder = model.pts_bbox_head.transformer.encoder
    encoder.get_reference_points = rounded(encoder.get_reference_points)


def rounded(make_points: Callable[..., Any]) -> Callable[..., Any]:
    torch = load_library("torch")
    return lambda *given, **named: make_points(*given, **{**named, "dtype": torch.float16}).float()


def half_both(model: Any) -> None:
    """The two together, and nothing else."""
    half_features(model)
    half_positions(model)


def half_adapter(model: Any) -> None:
    """What the adapter runs on a GPU: every marked module, positions in single precision."""
    half_upstream(model)
    assert keep_positions_single(model) == 1


def half_upstream(model: Any) -> None:
    """What upstream's test runs on a GPU: every marked module."""
    assert half_modules(model)
    load_library("mmcv.runner").wrap_fp16_model(model)


CASES: Dict[str, Callable[[Any], None]] = {
    "single": no_change,
    "features": half_features,
    "positions": half_positions,
    "both": half_both,
    "adapter": half_adapter,
    "upstream": half_upstream,
}


if __name__ == "__main__":
    main()
