"""What tests/worker/test_graphs.py runs in an environment with torch: parts as graphs, on a simulated device.

Prints JSON: name of a case → what came of it; nothing in it where this Python or its torch is too old to simulate.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "runners"), str(CHECKOUT / "tests" / "gpu")]

try:
    import simulated_graphs
except ImportError:
    print("{}")
    sys.exit(0)
import torch  # type: ignore[import-not-found]  # noqa: E402
from torch import nn  # noqa: E402

from worker.adapter import Adapter, Settings  # noqa: E402
from worker.graphs import GraphsError, record_graphs  # noqa: E402
from worker.pictures.adapter import PictureAdapter  # noqa: E402


class Backbone(nn.Module):  # type: ignore[misc]
    """Two levels, with normalization, as a list; the second in place of its own tensor, as authors write it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, pictures: Any) -> list[Any]:
        first = self.first(pictures)
        second = self.second(first)
        second += 1.0
        return [first, second]


class Neck(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(8, 4, 1)

    def forward(self, levels: Any, scale: float = 1.0) -> Any:
        upper = nn.functional.interpolate(self.lateral(levels[1]), scale_factor=2)
        return OrderedDict(fine=scale * self.lateral(levels[0]) + upper, coarse=(levels[1].half(), levels[1].sum()))


class Network(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.img_backbone, self.img_neck = Backbone(), Neck()
        self.seen = 0

    def forward(self, pictures: Any) -> Any:
        self.seen += 1  # the head's state, which no graph may hold
        return self.img_neck(self.img_backbone(pictures), scale=0.5), self.seen


class Looks(nn.Module):  # type: ignore[misc]
    """A part that looks at a value on the host."""

    def forward(self, pictures: Any) -> Any:
        return pictures * 2 if pictures.sum().item() > 0 else pictures


class Draws(nn.Module):  # type: ignore[misc]
    def forward(self, pictures: Any) -> Any:
        return pictures + torch.rand(()) * 1e-2


class Writes(nn.Module):  # type: ignore[misc]
    def forward(self, pictures: Any) -> Any:
        return pictures.mul_(2) + 1


class Odd(nn.Module):  # type: ignore[misc]
    def forward(self, pictures: Any) -> Any:
        return {1, 2} if pictures is None else (pictures, {3})


class Casts(nn.Module):  # type: ignore[misc]
    """A layer under autocast's own region, as mmcv's auto_fp16 makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, pictures: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(pictures)


class Model(Adapter):
    name = "Model"

    def __init__(self, modules: dict[str, Any], forms: int = 4) -> None:
        self.modules, self.graph_forms = modules, forms

    def graph_parts(self) -> dict[str, Any]:
        return self.modules


ON_CARD = Settings(device="cuda:0")


def equal(one: Any, other: Any) -> bool:
    pairs = zip(simulated_graphs.tensors_of(one), simulated_graphs.tensors_of(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def whole_network(inference: bool) -> dict[str, Any]:
    """Eager, recorded, replayed on other inputs, another size, and outputs that are kept."""
    torch.manual_seed(1)
    network = Network().eval()
    graphs = record_graphs(Model({"img_backbone": network.img_backbone, "img_neck": network.img_neck}), ON_CARD)
    plain = Network().eval()
    plain.load_state_dict(network.state_dict())
    states, same, kept = [], [], []
    sizes = [(8, 8)] * 4 + [(8, 16)] * 2 + [(8, 8)]
    with torch.inference_mode() if inference else torch.no_grad():
        for number, size in enumerate(sizes):
            pictures = torch.randn(2, 3, *size)
            found, wanted = network(pictures.clone()), plain(pictures)
            kept.append((found, wanted))
            same.append(equal(found, wanted) and found[1] == number + 1)
            states.append(graphs.finish())
    return {
        "same": same,
        "still": [equal(*pair) for pair in kept],
        "states": states,
        "types": [type(found[0]).__name__ for found, _ in kept],
    }


def alone(module: Any, inputs: list[Any], forms: int = 4) -> dict[str, Any]:
    """One part, called once a sample."""
    module = module.eval()
    graphs = record_graphs(Model({"part": module}, forms), ON_CARD)
    states, found = [], []
    with torch.no_grad():
        for one in inputs:
            raw = module(one.clone())
            found.append(raw.tolist() if isinstance(raw, torch.Tensor) else str(type(raw)))
            states.append(graphs.finish())
    return {"states": states, "found": found}


def refused(adapter: Any, settings: Settings) -> str:
    try:
        record_graphs(adapter, settings)
    except GraphsError as error:
        return str(error)
    return "not refused"


class Pictures(PictureAdapter):
    name = "Pictures"
    graph_modules = ("img_backbone", "no_such")


def main() -> None:
    simulated_graphs.install()
    ones = torch.ones(1, 8)
    pictures = Pictures()
    pictures._network = Network().eval()
    found: dict[str, Any] = {
        "network": whole_network(inference=False),
        "inference": whole_network(inference=True),
        "calls": list(simulated_graphs.calls),
        "looks": alone(Looks(), [ones, -ones, ones]),
        "draws": alone(Draws(), [ones] * 3),
        "writes": alone(Writes(), [ones] * 3),
        "odd": alone(Odd(), [ones] * 2),
        "casts": alone(Casts(), [ones, 2 * ones]),
        "one form": alone(nn.ReLU(), [ones, ones, torch.ones(2, 8), ones], forms=1),
        "parts": sorted(pictures.graph_parts()),
        "training": refused(Model({"grid_mask": nn.Dropout()}), ON_CARD),
        "cpu": refused(Model({"part": nn.ReLU().eval()}), Settings(device="cpu")),
        "none": refused(Model({}), ON_CARD),
    }
    del torch.cuda.CUDAGraph
    found["old torch"] = refused(Model({"part": nn.ReLU().eval()}), ON_CARD)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
