"""A `DataLoader` whose order and whose draws another process can go on with, at no cost but the indices.

What decides a batch is the sampler's order and the generators of the process that makes it. So a state holds how many
batches were taken, the main process's generators as they were when the pass over the data began, and those of every
reading process after its last batch. The next one runs the sampler alone over what was taken, and gives each reading
process the generators of the one whose turn it has.
"""

import importlib
import random
from itertools import chain
from typing import Any, Dict, Iterator, Optional

from .torch_state import load_torch, random_states, set_random_states


class ResumableLoader:
    """Stands for a DataLoader, which it asks for everything but its passes over the data."""

    def __init__(self, loader: Any, state: Optional[Dict[str, Any]] = None) -> None:
        self._loader = loader
        self._resume = state
        self._begun: Dict[str, Any] = {}
        self._taken = 0
        self._readers: Dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def state(self) -> Dict[str, Any]:
        """What the next process needs to go on behind the batch that was taken last."""
        return {"taken": self._taken, "begun": self._begun, "readers": dict(self._readers)}

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass; the first one after a resume goes on in the middle of its own."""
        resume, self._resume = self._resume, None
        now = random_states()
        if resume is not None:
            set_random_states(resume["begun"])
        self._begun = random_states()
        self._taken = 0 if resume is None else resume["taken"]
        self._readers = {} if resume is None else dict(resume["readers"])
        batches = iter(self._copy())
        if resume is not None:
            set_random_states(now)
        return self._take(batches)

    def _take(self, batches: Iterator[Any]) -> Iterator[Any]:
        count = self._loader.num_workers
        for batch, readers in batches:
            if count:
                self._readers[self._taken % count] = readers
            self._taken += 1
            yield batch

    def _copy(self) -> Any:
        base, count = self._loader, self._loader.num_workers
        reading = {"prefetch_factor": base.prefetch_factor} if count else {}
        return load_torch().utils.data.DataLoader(
            base.dataset,
            batch_sampler=_After(base.batch_sampler, self._taken),
            num_workers=count,
            collate_fn=_WithState(base.collate_fn),
            worker_init_fn=_Start(base.worker_init_fn, self._readers, self._taken, count),
            pin_memory=base.pin_memory,
            timeout=base.timeout,
            multiprocessing_context=base.multiprocessing_context,
            generator=base.generator,
            **reading,
        )


class _After:
    """A sampler's batches behind the first `skipped`. One is drawn ahead: some samplers draw their seed only then."""

    def __init__(self, batches: Any, skipped: int) -> None:
        self._batches = batches
        self._skipped = skipped

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        for _ in range(self._skipped):
            next(batches, None)
        first = next(batches, None)
        return iter(()) if first is None else chain([first], batches)

    def __len__(self) -> int:
        return max(0, len(self._batches) - self._skipped)


class _WithState:
    """Puts the generators of a reading process beside each of its batches."""

    def __init__(self, collate: Any) -> None:
        self._collate = collate

    def __call__(self, samples: Any) -> Any:
        batch = self._collate(samples)
        if load_torch().utils.data.get_worker_info() is None:
            return batch, None
        states = random_states(on_gpus=False)  # a reading process is forked, and CUDA cannot be
        states["torch"] = states["torch"].tolist()  # plain: a tensor would take a file descriptor a batch
        return batch, states


class _Start:
    """Gives a reading process the generators of the one that it goes on for, after its own set-up."""

    def __init__(self, own: Any, readers: Dict[int, Any], taken: int, count: int) -> None:
        self._own = own
        self._readers = readers
        self._taken = taken
        self._count = count

    def __call__(self, number: int) -> None:
        standing_for = (self._taken + number) % self._count
        states = self._readers.get(standing_for)
        if states is None and standing_for != number:
            _seed_as(number, standing_for)
        if self._own is not None:
            self._own(standing_for)
        if states is not None:
            torch = load_torch()
            set_random_states({**states, "torch": torch.tensor(states["torch"], dtype=torch.uint8), "cuda": []})


def _seed_as(number: int, other: int) -> None:
    """Seed the generators of reading process `number` as PyTorch seeds those of `other`, which has read nothing yet."""
    torch, numpy = load_torch(), importlib.import_module("numpy")
    base = torch.utils.data.get_worker_info().seed - number
    random.seed(base + other)
    torch.manual_seed(base + other)
    module = importlib.import_module("torch.utils.data._utils.worker")
    if hasattr(module, "_generate_state"):  # since PyTorch 1.9
        numpy.random.seed(module._generate_state(base, other))
