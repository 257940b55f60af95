"""ASAP's own simulator: its functions, taken from its script, without the data and packages that the script wants."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SCRIPT = Path("sAP3D") / "nusc_sAP3D.py"
WANTED = {"Empirical", "modify_token", "streaming_simulation"}
PERIOD_MS = 1000 / 12


class Table:
    """One scene whose moments are named by their numbers: the part of nuScenes' tables that the simulator asks."""

    def __init__(self, moments: int) -> None:
        self.scene = [{"name": "scene", "first_sample_token": "0"}]
        self._moments = moments

    def get(self, _table: str, token: str) -> dict[str, str]:
        following = int(token) + 1
        return {"next": str(following) if following < self._moments else ""}


def simulate_by_asap(
    checkout: Path, draws_us: Sequence[int], *, inputs: int, moments: int, factor: float, dynamic: bool, folder: Path
) -> list[int | None]:
    """Return by moment the number of the input whose output it has; None before the first.

    Args:
        draws_us: what each draw of a latency gives, one an output, in the order of outputs [µs].
    """
    tree = ast.parse((checkout / SCRIPT).read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in WANTED]
    results = {str(i): [{"input": i}] for i in range(inputs)}
    (folder / "results.json").write_text(json.dumps({"results": results}))
    left = iter([draws_us[0], *draws_us])  # the simulator prints one draw before it begins
    numpy = SimpleNamespace(array=np.array, random=SimpleNamespace(choice=lambda _: factor * next(left) / 1e3))
    names: dict[str, Any] = {
        "np": numpy,
        "json": json,
        "copy": copy,
        "print": lambda *_: None,
        "opts": SimpleNamespace(
            results_nusc_path=folder / "results.json",
            input_frequency=12,
            ann_frequency=12,
            time_factor=1,
            sp_strategy="copy",
            dynamic_schedule=dynamic,
        ),
        "nusc2": Table(moments),
        "create_splits_scenes": lambda: {"val": ["scene"]},
        "model_time": [factor * one / 1e3 for one in draws_us],
        "input_token_sequence": {str(i): str(i + 1) if i + 1 < inputs else "" for i in range(inputs)},
    }
    exec(compile(tree, str(SCRIPT), "exec"), names)
    names["streaming_simulation"](folder / "simulated.json")
    found = json.loads((folder / "simulated.json").read_text())["results"]
    return [found[str(m)][0]["input"] if found[str(m)] else None for m in range(moments)]
