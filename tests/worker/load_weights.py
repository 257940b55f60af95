# ruff: noqa: UP006, UP035, B905  the classic environments have Python 3.8
"""Runs under a Python that has torch: saves checkpoints of a small network in many forms, and loads each.

    python load_weights.py FOLDER

Prints, as JSON, for each form the notes and whether the network then computes what it did before, or the error.
"""

import argparse
import collections
import datetime as dt
import enum
import json
import struct
import sys
from pathlib import Path
from typing import Any, Callable, Dict

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

import numpy as np
import torch  # type: ignore[import-not-found]

from worker.mmlab.common.weights import Loaded, WeightsError, load_into, save_random, seed_initial_values


class Network(torch.nn.Module):  # type: ignore[misc]
    """A convolution, a normalisation and a head; `queries` is a parameter of its own."""

    def __init__(self, queries: int = 6) -> None:
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.head = torch.nn.Linear(4, 2)
        self.reference_points = torch.nn.Embedding(queries, 3)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, image: Any) -> Any:
        features = self.backbone(image).mean(dim=(2, 3))
        return self.head(features) * self.scale, self.reference_points.weight


class Head(torch.nn.Module):  # type: ignore[misc]
    """A head with a hook like that of mmdet's AnchorFreeHead: keys without a version are very old ones, and renamed."""

    _version = 1

    def __init__(self) -> None:
        super().__init__()
        self.cls = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1), torch.nn.BatchNorm2d(2))

    def _load_from_state_dict(self, state: Any, prefix: str, facts: Any, *others: Any) -> None:
        if facts.get("version") is None:
            for key in [key for key in state if key.startswith(prefix + "old_")]:
                state[prefix + "cls." + key[len(prefix + "old_") :]] = state.pop(key)
            for key in [key for key in state if key.startswith(prefix + "cls.") and self.strays]:
                state[key.replace("cls.", "conv_cls.")] = state.pop(key)
        super()._load_from_state_dict(state, prefix, facts, *others)

    strays = True
    """Whether the present name is one of those that the hook renames, as in a head that inherits mmdet's."""


class OldHead(Head):
    """A head whose old files it can still read."""

    strays = False


class Mode(enum.Enum):
    """A class of one's own."""

    TRAIN = "train"


class Options:
    """Another, whose state must not be given to it."""

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("code of a checkpoint ran")


def network(seed: int, queries: int = 6) -> Any:
    """A network in use: statistics are not those of its constructor."""
    torch.manual_seed(seed)
    made = Network(queries)
    made.train()
    made(torch.randn(4, 3, 8, 8))
    made.scale.mul_(2)
    return made.eval()


def main(folder: Path) -> None:
    source = network(1)
    image = torch.randn(1, 3, 8, 8)
    wanted = source(image)
    results: Dict[str, Any] = {"libraries": [torch.__version__, sys.version]}
    for name, write in forms(source).items():
        path = folder / "{}.bin".format(name.replace(" ", "-"))
        write(path)
        target = network(2)
        try:
            loaded = load_into(target, str(path), ema=True if name == "average asked for" else None)
        except WeightsError as error:
            results[name] = {"error": str(error)}
            continue
        results[name] = {"notes": list(loaded.notes), "equal": equal(target.eval()(image), wanted)}
    results["fitting"] = said_fitting(folder)
    results["seeded"] = initial_values() == initial_values()
    results["random"] = drawn(folder).report.fits
    results["versions"] = with_versions_lost(folder)
    print(json.dumps(results))


def forms(source: Any) -> Dict[str, Callable[[Path], None]]:
    """Name of a form → what writes it."""
    state = source.state_dict()
    average = collections.OrderedDict(
        (key, value + 1 if value.is_floating_point() else value) for key, value in state.items()
    )
    optimizer = torch.optim.AdamW(source.parameters())
    extra = {
        "args": argparse.Namespace(lr=0.1),
        "time": dt.date(2024, 1, 2),
        "best": np.float64(0.5),
        "history": np.arange(3),
        "options": Options(),
        Mode.TRAIN: 3,
    }

    def saved(content: Any, **options: Any) -> Callable[[Path], None]:
        return lambda path: torch.save(content, str(path), **options)

    def with_prefix(prefix: str, of: Any = None) -> Any:
        return collections.OrderedDict((prefix + key, value) for key, value in (of or state).items())

    def without(key: str) -> Any:
        return collections.OrderedDict((name, value) for name, value in state.items() if name != key)

    half = collections.OrderedDict(
        (key, value.half() if value.is_floating_point() else value) for key, value in state.items()
    )
    double = collections.OrderedDict((key, value.double()) for key, value in state.items())
    broken = collections.OrderedDict(state)
    broken["head.weight"] = torch.full_like(state["head.weight"], float("nan"))
    whole = collections.OrderedDict(state)
    whole["head.weight"] = state["head.weight"].to(torch.int8)
    attributed = torch.nn.Parameter(state["head.weight"].clone())
    attributed.note = Options()
    return {
        "zip": saved({"meta": {"epoch": 1}, "state_dict": state, "optimizer": optimizer.state_dict(), "extra": extra}),
        "legacy": saved({"state_dict": state, "extra": extra}, _use_new_zipfile_serialization=False),
        "alone": saved(state),
        "model": saved({"model": state}),
        "net": saved({"net": state, "acc": 1}),
        "data parallel": saved({"state_dict": torch.nn.DataParallel(source).state_dict()}),
        "lightning": saved({"state_dict": with_prefix("model."), "hyper_parameters": {"lr": 1}}),
        "compiled": saved({"module": with_prefix("_orig_mod.")}),
        "safetensors": lambda path: write_safetensors(path, state),
        "average beside": saved({"state_dict": state, "state_dict_ema": average}),
        "average asked for": saved({"state_dict": average, "state_dict_ema": state}),
        "average alone": saved({"ema_state_dict": with_prefix("module."), "steps": torch.tensor(3)}),
        "hook's average": saved({"state_dict": {**state, "ema_head_weight": average["head.weight"]}}),
        "half": saved(half),
        "double": saved(double),
        "with attributes": saved({**state, "head.weight": attributed}),
        "without counters": saved({"state_dict": without("backbone.1.num_batches_tracked")}),
        "without one": saved({"state_dict": without("reference_points.weight")}),
        "without a buffer": saved({"state_dict": without("scale")}),
        "other shape": saved({"state_dict": network(3, queries=9).state_dict()}),
        "NaN": saved(broken),
        "integers": saved(whole),
        "other model": saved({"state_dict": with_prefix("bev.")}),
        "optimizer": saved({"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}),
        "no weights": saved([1, 2]),
        "text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n") and None,
    }


def write_safetensors(path: Path, state: Any) -> None:
    """The format, by hand: older environments have no library for it."""
    kinds = {"torch.float32": "F32", "torch.int64": "I64"}
    header: Dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for key, value in state.items():
        content = value.contiguous().numpy().tobytes()
        shape = list(value.shape)
        header[key] = {
            "dtype": kinds[str(value.dtype)],
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def said_fitting(folder: Path) -> str:
    """What is said of a checkpoint of a larger configuration, when the caller knows which fits."""
    path = folder / "large.pth"
    torch.save({"state_dict": network(3, queries=9).state_dict()}, str(path))
    try:
        load_into(network(2), str(path), fitting=lambda state: f"It has {len(state)} tensors")
    except WeightsError as error:
        return str(error)
    return ""


def initial_values() -> Any:
    """The numbers that a network's constructor draws after seeding."""
    seed_initial_values()
    return [value.tolist() for value in Network().state_dict().values()]


def drawn(folder: Path) -> Loaded:
    """Random weights take the same way in."""
    target = network(2)
    save_random(target, 0, str(folder / "random.pth"))
    return load_into(target, str(folder / "random.pth"))


def with_versions_lost(folder: Path) -> Dict[str, bool]:
    """Whether heads are loaded whole: with random weights, and from files that do not say their keys' versions."""
    source = torch.nn.ModuleDict({"head": Head()})
    save_random(source, 0, str(folder / "head.pth"))
    state = collections.OrderedDict(source.state_dict().items())
    files = {"plain": state, "without counters": {key: value for key, value in state.items() if "tracked" not in key}}
    files["old"] = {key.replace("head.cls.", "head.old_"): value for key, value in state.items()}
    found = {"random": load_into(source, str(folder / "head.pth")).report.fits}
    for name, content in files.items():
        torch.save({"state_dict": content}, str(folder / "lost.pth"))
        target = torch.nn.ModuleDict({"head": OldHead() if name == "old" else Head()})
        found[name] = load_into(target, str(folder / "lost.pth")).report.fits
        kept = target.state_dict()
        found[name] = found[name] and all(torch.equal(kept[key], value) for key, value in state.items())
    return found


def equal(found: Any, wanted: Any) -> bool:
    return all(torch.allclose(one, other, atol=1e-2) for one, other in zip(found, wanted))


main(Path(sys.argv[1]))
