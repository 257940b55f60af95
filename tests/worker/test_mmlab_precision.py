"""Half precision by mmcv's marks: where it is wanted, which modules have it, and that positions never do.

mmcv and torch are stand-ins of a few lines here; tests/models/test_precision.py runs the same with the real ones.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker.adapter import Adapter, Settings
from worker.mmlab.common.precision import set_tf32
from worker.mmlab.v1 import precision
from worker.precision import PRECISIONS, PrecisionError, in_force, require


def auto_fp16(apply_to: Any = None) -> Callable[[Any], Any]:
    def decorate(old: Any) -> Any:
        @functools.wraps(old)
        def new(self: Any, *given: Any, **named: Any) -> Any:
            return (apply_to, old(self, *given, **named))

        return new

    return decorate


class Module:
    def __init__(self, *children: Module) -> None:
        self.fp16_enabled = False
        self.children = children

    def modules(self) -> Iterator[Module]:
        yield self
        for child in self.children:
            yield from child.modules()


class Encoder(Module):
    @staticmethod
    def get_reference_points(height: int, *, dtype: str = "float32") -> tuple[int, str]:
        return height, dtype

    def point_sampling(self) -> None: ...

    @auto_fp16()
    def forward(self, dtype: str) -> Any:
        return self.get_reference_points(4, dtype=dtype)


class TrainedInHalf(Module):
    """As StreamPETR's attention: a marked method for training, another for inference."""

    @auto_fp16()
    def forward_fp16(self) -> None: ...

    def forward(self) -> None: ...


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    def wrap(model: Module) -> None:
        for module in model.modules():
            module.fp16_enabled = True

    fake = types.ModuleType("torch")
    fake.__dict__.update(
        float32="float32",
        backends=types.SimpleNamespace(
            cuda=types.SimpleNamespace(matmul=types.SimpleNamespace(allow_tf32=False)),
            cudnn=types.SimpleNamespace(allow_tf32=True),
        ),
        cuda=types.SimpleNamespace(get_device_capability=lambda device: (9, 0)),
    )
    runner = types.ModuleType("mmcv.runner")
    runner.__dict__.update(auto_fp16=auto_fp16, wrap_fp16_model=wrap)
    for name, module in (("torch", fake), ("mmcv", types.ModuleType("mmcv")), ("mmcv.runner", runner)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    return fake


def forward(encoder: Encoder, dtype: str) -> str:
    return str(encoder.forward(dtype)[1][1])


@pytest.mark.parametrize(
    ("asked", "config", "device", "half"),
    [
        ("authors", {"fp16": {"loss_scale": 512.0}}, "cuda:0", True),
        ("authors", {}, "cuda:0", False),
        ("authors", {"fp16": {"loss_scale": 512.0}}, "cpu", False),
        ("float32", {"fp16": {"loss_scale": 512.0}}, "cuda:0", False),
        ("tf32", {"fp16": {"loss_scale": 512.0}}, "cuda:0", False),
        ("half", {}, "cuda:0", True),
    ],
)
def test_half_precision_is_where_it_is_asked_for(
    torch: Any, asked: str, config: dict[str, Any], device: str, half: bool
) -> None:
    encoder = Encoder()
    model = Module(encoder)
    precision.set_activations(model, config, device=device, precision=asked, name="MapTR")
    assert (model.fp16_enabled, encoder.fp16_enabled) == (half, half)
    found = precision.read_precision(model, device=device)
    assert found["activations"] == ("half" if half else "float32")
    if half:
        assert forward(encoder, "float16") == "float32", "positions stay single"


def test_positions_are_half_only_where_the_authors_rounding_is_asked_for(torch: Any) -> None:
    encoder = Encoder()
    precision.set_activations(
        encoder, {"fp16": {}}, device="cuda:0", precision="authors", name="MapTR", half_positions=True
    )
    assert encoder.fp16_enabled
    assert forward(encoder, "float16") == "float16"


def test_a_network_without_marked_modules_is_refused_by_name(torch: Any) -> None:
    for model in (Module(), Module(TrainedInHalf())):
        with pytest.raises(PrecisionError, match=r"TopoMLP cannot run with --precision half.*--precision authors"):
            precision.set_activations(model, {}, device="cuda:0", precision="half", name="TopoMLP")
        precision.set_activations(model, {}, device="cuda:0", precision="authors", name="TopoMLP")
        assert precision.read_precision(model, device="cuda:0")["activations"] == "float32"
    for asked in ("half", "tf32"):
        with pytest.raises(PrecisionError, match="a CPU computes in float32"):
            precision.set_activations(Module(Encoder()), {}, device="cpu", precision=asked)


def test_a_module_that_is_half_by_its_own_word_is_single_where_that_is_asked_for(torch: Any) -> None:
    encoder = Encoder()
    encoder.fp16_enabled = True
    assert precision.read_precision(encoder, device="cuda:0")["activations"] == "half"
    precision.set_activations(encoder, {}, device="cuda:0", precision="float32")
    assert precision.read_precision(encoder, device="cuda:0")["activations"] == "float32"


def test_tf32_is_set_where_asked_for_and_read_as_it_is(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def now(device: str = "cuda:0") -> Any:
        found = precision.read_precision(Module(), device=device)
        return found["tf32_convolutions"], found["tf32_matmul"]

    seen = {}
    for asked in PRECISIONS:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
        set_tf32(asked)
        seen[asked] = now()
    default = (True, False)
    assert seen == {"authors": default, "float32": (False, False), "tf32": (True, True), "half": default}
    assert now("cpu") == (False, False)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert now() == (False, False), "NVIDIA's switch stands above PyTorch's"
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    torch.cuda.get_device_capability = lambda device: (7, 5)
    assert now() == (False, False), "Turing has no TF32"


def test_a_model_without_a_network_runs_in_single_precision() -> None:
    assert Settings().precision == "authors"
    assert Adapter().precision() == in_force()
    require("GroundPlane", Adapter.precisions, "float32")
    with pytest.raises(PrecisionError, match="GroundPlane cannot run with --precision half: it runs in authors or"):
        require("GroundPlane", Adapter.precisions, "half")
