"""What the authors' training code lacks on today's libraries, and on a CPU; none changes what is learnt."""

import types
from typing import Any, Callable

from ...common.libraries import load_library


def train_on_cpu() -> None:
    """Let `.cuda()` be of no consequence: the authors call it on networks and tensors without asking."""
    torch = load_library("torch")

    def stay(self: Any, *_: Any, **__: Any) -> Any:
        return self

    torch.nn.Module.cuda = stay
    torch.Tensor.cuda = stay


def name_copy_streams() -> None:
    """mmcv's scatter names a GPU by its number, and torch 2.1 and later by a device; both are taken."""
    torch = load_library("torch")
    module = load_library("mmcv.parallel._functions")
    original: Callable[[Any], Any] = module._get_stream

    def get_stream(device: Any) -> Any:
        try:
            return original(device)
        except AttributeError:
            return original(torch.device("cuda", device))

    module._get_stream = get_stream


def differentiate(module: Any, name: str, operation: Callable[..., Any]) -> None:
    """Let autograd differentiate `operation` in place of the Function `name`, whose backward pass is compiled code."""
    setattr(module, name, types.SimpleNamespace(apply=operation))


def single_precision(config: Any) -> None:
    """Drop half precision, which torch has for GPUs alone: its hook scales the loss for it."""
    config.fp16 = None
    own = config.optimizer_config
    if "Fp16" in str(own.get("type", "")):
        config.optimizer_config = {"type": "OptimizerHook", "grad_clip": own.get("grad_clip")}
    elif "type" not in own:
        config.optimizer_config = dict(own, type="OptimizerHook")
