"""What of a training in PyTorch must be kept for another process to go on exactly: generators, plain tensors, files.

Everything here has a plain form (numbers, texts, lists, tensors), so that files load with `weights_only`.
"""

import importlib
import inspect
import random
from typing import Any, Dict, List


def load_torch() -> Any:
    """PyTorch, which the host lacks."""
    return importlib.import_module("torch")


def _numpy() -> Any:
    return importlib.import_module("numpy")


def random_states(*, on_gpus: bool = True) -> Dict[str, Any]:
    """The states of Python's, NumPy's and PyTorch's generators; those of every visible GPU too, unless not asked."""
    torch = load_torch()
    version, words, gauss = random.getstate()
    numbers = _numpy().random.get_state()  # the one that pipelines draw from
    return {
        "python": [version, list(words), gauss],
        "numpy": [numbers[0], numbers[1].tolist(), *numbers[2:]],
        "torch": torch.get_rng_state().clone(),
        "cuda": [one.cpu() for one in torch.cuda.get_rng_state_all()] if on_gpus and torch.cuda.is_available() else [],
    }


def set_random_states(states: Dict[str, Any]) -> None:
    """Set all generators to what `random_states` gave."""
    torch = load_torch()
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    numpy = _numpy()
    numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    for index, state in enumerate(states["cuda"]):
        if index < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), index)


def plain_tensors(model: Any) -> Dict[str, Dict[str, Any]]:
    """Tensors that modules keep as plain attributes, which no state dict has: a memory of the frames before."""
    torch = load_torch()
    found: Dict[str, Dict[str, Any]] = {}
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if isinstance(value, torch.Tensor)}
        if own:
            found[name] = {key: value.detach().cpu().clone() for key, value in own.items()}
    return found


def set_plain_tensors(model: Any, tensors: Dict[str, Dict[str, Any]]) -> List[str]:
    """Give modules back what `plain_tensors` found, on their own device; returns the modules' names."""
    torch = load_torch()
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    modules = dict(model.named_modules())
    for name, own in tensors.items():
        for key, value in own.items():
            setattr(modules[name], key, value.to(device))
    return list(tensors)


def load(path: str) -> Any:
    """Read a file of plain data and tensors onto the CPU, without running what it may hold where PyTorch can."""
    torch = load_torch()
    if "weights_only" in inspect.signature(torch.load).parameters:
        return torch.load(path, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu")


def agree_to_stop(asked: bool) -> bool:
    """Tell whether any of the processes was asked to stop; all of them must call this."""
    torch = load_torch()
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return asked
    on_gpu = distributed.get_backend() == "nccl"
    flag = torch.tensor([int(asked)], device="cuda" if on_gpu else "cpu")
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag.item())
