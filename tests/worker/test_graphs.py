"""CUDA graphs of a network's parts, on a simulated device: real PyTorch records and replays them on the CPU.

tests/execution/test_graphs.py runs the same through workers, tests/gpu has the stage that measures it on a card.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints.torch_pythons import torch_pythons_or_skip

from worker.graphs import UnknownForm, join, split

Found = dict[str, Any]
BOTH = ["img_backbone", "img_neck"]


@pytest.fixture(scope="module")
def found() -> Found:
    """What graphs_check.py prints, in the first interpreter whose torch has a dispatcher that tells of operations."""
    for python in torch_pythons_or_skip():
        program = Path(__file__).with_name("graphs_check.py")
        done = subprocess.run([python, program], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        said: Found = json.loads(done.stdout)
        if said:
            return said
    pytest.skip("needs PyTorch 2 on Python 3.10 or newer: admlops env install MapTR")


@pytest.mark.parametrize("mode", ["network", "inference"])
def test_parts_are_recorded_once_for_each_form_and_give_the_same(found: Found, mode: str) -> None:
    case = found[mode]
    assert case["same"] == [True] * 7, "replayed outputs are those of a network without graphs, in every bit"
    assert case["still"] == [True] * 7, "what a sample gave is not overwritten by later ones"
    assert case["types"] == ["OrderedDict"] * 7
    kinds = ["recorded", *["replayed"] * 3, "recorded", "replayed", "replayed"]
    assert case["states"] == [{"graphs": dict.fromkeys(BOTH, kind)} for kind in kinds]


def test_recording_goes_as_pytorch_asks(found: Found) -> None:
    """One stream and one pool for all parts; after a warm-up that is waited for; errors of this thread alone."""
    calls = found["calls"][: found["calls"].index("stream on cuda:0", 1)]
    record = "record, thread_local, pool 1, own stream True"
    assert calls.count(record) == 4, "two parts in two forms"
    assert calls.count("stream on cuda:0") == 1
    for place in (index for index, call in enumerate(calls) if call == record):
        assert calls[place - 2 : place + 3] == ["wait_stream", "synchronize", record, "synchronize", "replay"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("looks", "RuntimeError: CUDA error: operation not permitted when stream is capturing"),
        ("draws", "from those without a graph, and 1.0e-05 is the bound"),
        ("writes", "it writes into its input"),
        ("odd", "its output holds a set"),
    ],
)
def test_a_part_that_no_graph_can_hold_runs_as_ever_and_says_why(found: Found, case: str, reason: str) -> None:
    first, *others = found[case]["states"]
    assert first["graphs"] == {"part": "recorded"}
    assert reason in first["graphs_refused"]["part"]
    assert others == [{"graphs": {"part": "eager"}}] * len(others), "the reason is told once"


def test_a_part_that_looks_at_values_still_gives_each_inputs_own_output(found: Found) -> None:
    assert [one[0][0] for one in found["looks"]["found"]] == [2.0, -1.0, 2.0]
    assert found["writes"]["found"] == [[[3.0] * 8]] * 3


def test_a_region_of_autocast_is_recorded_whole(found: Found) -> None:
    """Weights are cast in the graph itself: what autocast's cache held is gone when the graph is replayed."""
    assert [one["graphs"]["part"] for one in found["casts"]["states"]] == ["recorded", "replayed"]
    once, twice = (one[0] for one in found["casts"]["found"])
    assert once != twice


def test_a_part_with_tensors_of_its_last_form_gives_all_graphs_up_at_another(found: Found) -> None:
    kinds = [one["graphs"]["part"] for one in found["one form"]["states"]]
    assert kinds == ["recorded", "replayed", "eager", "eager"]
    assert found["one form"]["states"][2]["graphs_refused"] == {"part": "its input changed its form"}


def test_what_has_no_graphs_is_refused_by_name(found: Found) -> None:
    assert "its grid_mask in training mode, which draws at random" in found["training"]
    assert "Model runs on cpu, which has no CUDA graphs" in found["cpu"]
    assert "Model names no part of its network" in found["none"]
    assert "PyTorch" in found["old torch"]
    assert found["parts"] == ["img_backbone"], "a name that the network does not have is left out"


class Tensor:
    """What a form sees of a tensor."""

    shape, dtype, device = (1, 3), "torch.float32", "cuda:0"

    def stride(self) -> tuple[int, int]:
        return (3, 1)

    def data_ptr(self) -> int:
        return id(self)


def test_a_form_tells_all_but_the_tensors_themselves() -> None:
    first, second = Tensor(), Tensor()
    value = ((first,), {"levels": [second, None], "scale": 0.5, "exact": True})
    form, tensors = split(value)
    assert tensors == [first, second]
    assert join(form, iter(tensors)) == value
    others = [
        ((first,), {"levels": [second, None], "scale": 0.25, "exact": True}),
        ((first,), {"levels": [second, None], "scale": 0.5, "exact": 1}),
        ((first,), {"levels": (second, None), "scale": 0.5, "exact": True}),
    ]
    assert len({form, *(split(other)[0] for other in others)}) == 4
    with pytest.raises(UnknownForm, match="a set"):
        split([first, {1}])
