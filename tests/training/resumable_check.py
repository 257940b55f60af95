"""Holds `ResumableLoader` against an unbroken pass, in an environment with PyTorch; prints the names of what agreed.

Run by that environment's Python with the folder `runners` as its argument.
"""

# ruff: noqa: NPY002  the generators that pipelines draw from

import importlib
import itertools
import random
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np

from worker.training.resumable import ResumableLoader
from worker.training.torch_state import random_states, set_random_states

torch: Any = importlib.import_module("torch")

SIZE, BATCH = 23, 3


class Draws(torch.utils.data.Dataset):  # type: ignore[misc]
    """Each item is its index and a draw from every generator, as augmentations draw."""

    def __getitem__(self, index: int) -> Any:
        return [index, random.random(), np.random.rand(), float(torch.rand(()))]

    def __len__(self) -> int:
        return SIZE


class Shuffled(torch.utils.data.Sampler):  # type: ignore[misc]
    """mmdet's GroupSampler shuffles by NumPy's global generator when a pass begins."""

    def __iter__(self) -> Any:
        return iter(np.random.permutation(SIZE).tolist())

    def __len__(self) -> int:
        return SIZE


class Endless(torch.utils.data.Sampler):  # type: ignore[misc]
    """StreamPETR's sampler of batches never ends, and draws from a generator of its own."""

    def __iter__(self) -> Any:
        generator = torch.Generator()
        generator.manual_seed(7)
        while True:
            yield torch.randperm(SIZE, generator=generator).tolist()[:BATCH]

    def __len__(self) -> int:
        return SIZE


def start_reader(number: int) -> None:
    np.random.seed(number)
    random.seed(number)


def make_loader(kind: str, readers: int) -> Any:
    orders: dict[str, dict[str, Any]] = {
        "endless": {"batch_sampler": Endless()},
        "numpy": {"batch_size": BATCH, "sampler": Shuffled()},
        "torch": {"batch_size": BATCH, "shuffle": True},
    }
    start = start_reader if readers else None
    reading: dict[str, Any] = {"num_workers": readers, "collate_fn": list, "worker_init_fn": start}
    return torch.utils.data.DataLoader(Draws(), **reading, **orders[kind])


def train(loader: Any, taken: int, count: int) -> tuple[list[Any], dict[str, Any]]:
    """Take batches up to `count`, drawing in the main process after each as a network's dropout does."""
    seen = []
    while True:
        for batch in loader:
            seen.append([batch, float(torch.rand(())), np.random.rand()])
            if taken + len(seen) == count:
                return seen, {"loader": loader.state(), "random": random_states()}


def seed() -> None:
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)


def check(kind: str, readers: int, end: int) -> None:
    last = 11
    seed()
    whole, _ = train(ResumableLoader(make_loader(kind, readers)), 0, last)
    seed()
    first, state = train(ResumableLoader(make_loader(kind, readers)), 0, end)
    assert first == whole[:end], (kind, readers, end, "before")
    random.seed(99)  # another process: nothing is as it was
    np.random.seed(99)
    torch.manual_seed(99)
    loader = make_loader(kind, readers)
    is_whole = kind != "endless" and state["loader"]["taken"] >= len(loader)
    set_random_states(state["random"])
    rest, _ = train(ResumableLoader(loader, None if is_whole else state["loader"]), end, last)
    assert rest == whole[end:], (kind, readers, end, "after")


def main() -> None:
    for kind, readers, end in itertools.product(("numpy", "torch", "endless"), (0, 2), (1, 4, 8, 9)):
        check(kind, readers, end)
        print(kind, readers, end)


if __name__ == "__main__":
    torch.multiprocessing.set_start_method("fork")
    main()
