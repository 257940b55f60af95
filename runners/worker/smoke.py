"""The smoke test that runs inside a model's environment: `python smoke.py < wanted.json`.

Modules must import, and each compiled operation must agree with a plain PyTorch formulation of the same thing, on the
CPU and, where it is asked for and there is one, on the GPU. One line a check, `admlops-smoke {json}`; everything else
on standard output is the modules' own. Inputs are seeded and small: the whole takes little more than the imports.
"""

import importlib
import json
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Tuple

MARK = "admlops-smoke "
END = "end"
"""The last line's check: without it the interpreter has died."""
LAST_LINES = 3

Check = Tuple[str, Callable[[], str]]


def main() -> int:
    """Read {"modules": [...], "compiled": [...], "device": "cpu"|"cuda"}, check, and exit with 1 if a check failed."""
    wanted = json.load(sys.stdin)
    failed = False
    for name, check in list_checks(wanted["modules"], wanted["compiled"], wanted["device"]):
        result = run_check(name, check)
        failed = failed or not result["ok"]
        sys.stdout.write("\n" + MARK + json.dumps(result) + "\n")
        sys.stdout.flush()
    sys.stdout.write("\n" + MARK + json.dumps({"check": END, "ok": True, "seconds": 0.0, "said": ""}) + "\n")
    sys.stdout.flush()
    return 1 if failed else 0


def run_check(name: str, check: Callable[[], str]) -> Dict[str, Any]:
    """One check's result; an exception is a failure that says its last lines."""
    begun = time.perf_counter()
    try:
        said, succeeded = check(), True
    except Exception:  # noqa: BLE001 - whatever a module raises when it is imported, the other checks still count
        said, succeeded = " | ".join(traceback.format_exc().strip().splitlines()[-LAST_LINES:]), False
    return {"check": name, "ok": succeeded, "seconds": round(time.perf_counter() - begun, 3), "said": said}


def list_checks(modules: List[str], compiled: List[str], device: str) -> List[Check]:
    """The imports first, then the operations of the compiled packages that are known here."""
    checks = [("import " + module, _importer(module)) for module in modules]
    if "torch" in modules:
        checks.append(("kernels for this GPU", _check_kernels))
    if "mmcv-full" in compiled or "mmcv" in compiled:
        checks.append(("import mmcv.ops", _importer("mmcv.ops")))
        for place in _devices(device):
            checks += [("%s on %s" % (name, place), _bind(check, place)) for name, check in MMCV_CHECKS]
    return checks


def _importer(module: str) -> Callable[[], str]:
    def check() -> str:
        imported = importlib.import_module(module)
        return str(getattr(imported, "__version__", ""))

    return check


def _check_kernels() -> str:
    """torch has kernels for every GPU of this machine: of its major version, and no later minor one."""
    torch = _module("torch")
    flags = str(torch._C._cuda_getArchFlags() or "") if hasattr(torch._C, "_cuda_getArchFlags") else ""
    if not torch.cuda.is_available():
        return "no GPU here; torch has " + (flags or "none")
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        if not any(_runs(flag, capability) for flag in flags.split()):
            name = torch.cuda.get_device_name(index)
            raise AssertionError(
                "no kernel image is available for the %s (sm_%d%d): torch has %s" % (name, *capability, flags)
            )
    return flags


def _runs(flag: str, capability: Tuple[int, int]) -> bool:
    """Tell whether code for `sm_86` or `compute_90` runs on a GPU of this compute capability."""
    kind, _, number = flag.partition("_")
    digits = number.rstrip("af")
    if not digits.isdigit():
        return False
    compiled_for = (int(digits[:-1]), int(digits[-1]))
    if kind == "compute":
        return capability >= compiled_for
    return capability[0] == compiled_for[0] and capability[1] >= compiled_for[1]


def _bind(check: Callable[[str], str], place: str) -> Callable[[], str]:
    return lambda: check(place)


def _module(name: str) -> Any:
    """A module of the environment; this file itself needs nothing but the standard library."""
    return importlib.import_module(name)


def _devices(device: str) -> List[str]:
    if device != "cuda":
        return ["cpu"]
    torch = _module("torch")

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _agree(got: Any, expected: Any, tolerance: float) -> str:
    """Both tensors have one shape and differ by less than `tolerance`; returns the difference in words."""
    if tuple(got.shape) != tuple(expected.shape):
        raise AssertionError("shapes differ: %s and %s" % (tuple(got.shape), tuple(expected.shape)))
    difference = float((got.detach().cpu().double() - expected.detach().cpu().double()).abs().max())
    if not difference < tolerance:  # not a number is no agreement
        raise AssertionError("differs from plain PyTorch by %g, allowed %g" % (difference, tolerance))
    return "differs by %.2g" % difference


def _random(*shape: int, seed: int = 7) -> Any:
    torch = _module("torch")

    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _boxes(count: int) -> Any:
    """(count, 4) boxes x1, y1, x2, y2 that overlap a good deal."""
    torch = _module("torch")

    corner, size = _random(count, 2) * 60, _random(count, 2, seed=8) * 30 + 5
    return torch.cat([corner, corner + size], dim=1)


def _check_nms(place: str) -> str:
    """Greedy suppression, written out: the best box removes all that overlap it by more than the threshold."""
    nms = _module("mmcv.ops").nms

    boxes, scores, threshold = _boxes(60), _random(60, seed=9), 0.4
    _, kept = nms(boxes.to(place), scores.to(place), iou_threshold=threshold)
    left = scores.argsort(descending=True).tolist()
    expected = []
    while left:
        best = left.pop(0)
        expected.append(best)
        left = [other for other in left if _overlap(boxes[best], boxes[other]) <= threshold]
    if kept.cpu().tolist() != expected:
        raise AssertionError("kept %s, expected %s" % (kept.cpu().tolist(), expected))
    return "%d of 60 boxes kept" % len(expected)


def _overlap(first: Any, second: Any) -> float:
    """Intersection over union of two boxes."""
    torch = _module("torch")

    low, high = torch.max(first[:2], second[:2]), torch.min(first[2:], second[2:])
    shared = float((high - low).clamp(min=0).prod())
    areas = [float((box[2:] - box[:2]).prod()) for box in (first, second)]
    return shared / (sum(areas) - shared)


def _check_roi_align(place: str) -> str:
    """One sample in the middle of each bin is bilinear interpolation: `grid_sample` at the same points."""
    torch = _module("torch")
    roi_align = _module("mmcv.ops").roi_align

    bins, size = 3, 24
    features = _random(1, 2, size, size)
    box = torch.tensor([4.3, 5.1, 16.9, 18.2])
    rois = torch.cat([torch.zeros(1), box])[None]
    got = roi_align(features.to(place), rois.to(place), (bins, bins), 1.0, 1, "avg", True)
    steps = (torch.arange(bins).float() + 0.5) / bins
    columns = box[0] + steps * (box[2] - box[0])  # pixel edges: with `aligned`, pixel 0's centre is at 0.5
    rows = box[1] + steps * (box[3] - box[1])
    grid = torch.stack([columns[None, :].expand(bins, bins), rows[:, None].expand(bins, bins)], dim=-1)[None]
    expected = torch.nn.functional.grid_sample(features, grid / size * 2 - 1, align_corners=False)
    return _agree(got, expected, 1e-4)


def _check_deform_conv(place: str) -> str:
    """Without offsets and with a mask of ones, a modulated deformable convolution is a convolution."""
    torch = _module("torch")
    modulated_deform_conv2d = _module("mmcv.ops").modulated_deform_conv2d

    image, weight, bias = _random(1, 4, 10, 12), _random(6, 4, 3, 3, seed=8), _random(6, seed=9)
    offset, mask = torch.zeros(1, 18, 10, 12), torch.ones(1, 9, 10, 12)
    inputs = [tensor.to(place) for tensor in (image, offset, mask, weight, bias)]
    got = modulated_deform_conv2d(*inputs, 1, 1, 1, 1, 1)
    tolerance = 2e-2 if place == "cuda" else 1e-3  # a GPU may use TF32
    return _agree(got, torch.nn.functional.conv2d(image, weight, bias, padding=1), tolerance)


def _check_rotated_iou(place: str) -> str:
    """Boxes that are not rotated overlap as plain boxes do."""
    torch = _module("torch")
    box_iou_rotated = _module("mmcv.ops").box_iou_rotated

    boxes = _boxes(6)
    rotated = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], torch.zeros(6, 1)], dim=1)
    expected = torch.tensor([[_overlap(first, second) for second in boxes] for first in boxes])
    return _agree(box_iou_rotated(rotated.to(place), rotated.to(place)), expected, 1e-4)


def _check_deformable_attention(place: str) -> str:
    """Multi-scale deformable attention against sampling each level with `grid_sample`.

    mmcv has the operation for CUDA alone; what it calls on the CPU is held against the same.
    """
    torch = _module("torch")
    attention = _module("mmcv.ops.multi_scale_deform_attn")
    shapes, starts = torch.tensor([[6, 8], [3, 4]]), torch.tensor([0, 48])
    heads, channels, queries, points = 2, 32, 5, 4
    value = _random(1, 60, heads, channels)
    places = _random(1, queries, heads, 2, points, 2, seed=8)
    weights = _random(1, queries, heads, 2, points, seed=9)
    weights = weights / weights.sum((-1, -2), keepdim=True)
    if place == "cuda":
        inputs = [tensor.to(place) for tensor in (value, shapes, starts, places, weights)]
        got = attention.MultiScaleDeformableAttnFunction.apply(*inputs, 64)
    else:
        got = attention.multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
    return _agree(got, _attend(value, shapes.tolist(), places, weights), 1e-4)


def _attend(value: Any, shapes: List[List[int]], places: Any, weights: Any) -> Any:
    """(1, queries, heads * channels): `value` is (1, cells, heads, channels), `places` within 0..1, x before y."""
    torch = _module("torch")

    _, _, heads, channels = value.shape
    summed, first = torch.zeros(heads, channels, places.shape[1]), 0
    for level, (height, width) in enumerate(shapes):
        cells = value[0, first : first + height * width]
        first += height * width
        image = cells.permute(1, 2, 0).reshape(heads, channels, height, width)
        grid = places[0, :, :, level].permute(1, 0, 2, 3) * 2 - 1
        sampled = torch.nn.functional.grid_sample(image, grid, align_corners=False)
        summed = summed + (sampled * weights[0, :, :, level].permute(1, 0, 2)[:, None]).sum(-1)
    return summed.permute(2, 0, 1).reshape(1, -1, heads * channels)


MMCV_CHECKS = [
    ("nms", _check_nms),
    ("roi_align", _check_roi_align),
    ("modulated_deform_conv2d", _check_deform_conv),
    ("box_iou_rotated", _check_rotated_iou),
    ("ms_deform_attn", _check_deformable_attention),
]


if __name__ == "__main__":
    sys.exit(main())
