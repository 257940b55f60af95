"""How a worker comes by its samples' inputs: read in turn, or ahead by processes of its own."""

import sys
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence

from ..adapter import Adapter
from ..failures import FailedElsewhere
from .plain import PlainError
from .preparer import Answer, Preparer
from .slot import Slot, SlotFull, size_of

LOOK_S = 0.2
SLOTS_PER_PROCESS = 2
"""A process has its next sample when it has done one, without the worker's help."""
SPARE = 2.0
"""A slot is so many times as large as the first sample needs."""
LEAST_SLOT_BYTES = 8 << 20

Sample = Dict[str, Any]


class Prepared(NamedTuple):
    """A sample's inputs, and what to add to the time that getting them took, so that it is the sample's own [s].

    A sample that was read elsewhere took that time too, and did not take the time that the worker waited.
    """

    inputs: Any
    correction_s: float = 0.0


class Reader:
    """Reads each sample when it is due: `Adapter.prepare` in the worker itself."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def begin(self, samples: Sequence[Sample]) -> None:
        """Learn which samples of a scene come next, in order."""

    def prepare(self, sample: Sample) -> Prepared:
        """Return the inputs of the next sample. Raises what the adapter does."""
        return Prepared(self._adapter.prepare(sample))

    def close(self) -> None:
        """End what was started."""


class _Pending(NamedTuple):
    """A sample that a process reads into a slot, or why it is not: it could not be described, or handed over."""

    sample: Sample
    described: Any = None
    described_s: float = 0.0
    slot: int = -1
    preparer: Optional[Preparer] = None
    error: Optional[Exception] = None


class AheadReader(Reader):
    """Lets `processes` processes read the next samples of a scene while the network has the one before.

    The first sample is read in turn: its size decides that of the slots. At most `SLOTS_PER_PROCESS` samples a process
    are on their way, which bounds the memory. `is_stopping` is asked while the worker waits.
    """

    def __init__(self, adapter: Adapter, processes: int, *, on_gpu: bool, is_stopping: Callable[[], bool]) -> None:
        super().__init__(adapter)
        self._processes = processes
        self._on_gpu = on_gpu
        self._is_stopping = is_stopping
        self._preparers: List[Preparer] = []
        self._slots: List[Slot] = []
        self._free: List[int] = []
        self._coming: Deque[Sample] = deque()
        self._pending: Deque[_Pending] = deque()

    def begin(self, samples: Sequence[Sample]) -> None:
        """Let the first samples of a scene be read; what was left of the scene before is forgotten."""
        while self._pending:
            left = self._pending.popleft()
            if left.preparer is not None:
                self._await(left.preparer, left.sample)
                self._free.append(left.slot)
        self._coming = deque(samples)
        self._fill()

    def prepare(self, sample: Sample) -> Prepared:
        """Return the inputs of the next sample. Raises as the adapter, FailedElsewhere for it, or PreparerDied."""
        if self._pending and self._pending[0].sample is sample:
            return self._take(self._pending.popleft())
        if self._coming and self._coming[0] is sample:
            self._coming.popleft()
        if self._processes and not self._preparers:
            return self._read_first(sample)
        return super().prepare(sample)

    def close(self) -> None:
        """End the processes."""
        preparers, self._preparers = self._preparers, []
        self._processes = 0
        self._pending.clear()
        for preparer in preparers:
            preparer.end()

    def _read_first(self, sample: Sample) -> Prepared:
        """Read a sample in turn and start the processes, if what it is can be handed over."""
        described = self._adapter.describe(sample)
        data = self._adapter.read(described)
        try:
            size = max(LEAST_SLOT_BYTES, int(SPARE * max(size_of(data), size_of(described))))
        except PlainError as error:
            self._give_up(str(error))
        else:
            self._start(size)
            self._fill()
        return Prepared(self._adapter.place(data, sample))

    def _start(self, size: int) -> None:
        count = SLOTS_PER_PROCESS * self._processes
        self._slots = [Slot(size) for _ in range(count)]
        self._free = list(range(count))
        for _ in range(self._processes):
            self._preparers.append(Preparer(self._adapter, self._slots, self._preparers))
        pids = ", ".join(str(one.pid) for one in self._preparers)
        text = "samples are read ahead by {} processes ({}), at most {} at a time in {:.0f} MB of shared memory\n"
        sys.stderr.write(text.format(self._processes, pids, count, count * size / 1e6))
        sys.stderr.flush()

    def _give_up(self, reason: str) -> None:
        sys.stderr.write("samples are read in turn: {}\n".format(reason))
        sys.stderr.flush()
        self._processes = 0

    def _fill(self) -> None:
        """Give the processes work for every free slot."""
        while self._preparers and self._free and self._coming:
            self._pending.append(self._request(self._coming.popleft()))

    def _request(self, sample: Sample) -> _Pending:
        begun = time.perf_counter()
        try:
            described = self._adapter.describe(sample)
        except Exception as error:  # noqa: BLE001  it is this sample's, and told when its turn comes
            return _Pending(sample, error=error)
        described_s = time.perf_counter() - begun
        slot = self._free.pop()
        try:
            self._slots[slot].write(described)
        except (PlainError, SlotFull):
            self._free.append(slot)
            return _Pending(sample, described, described_s)
        preparer = min(self._preparers, key=lambda one: one.waiting)
        preparer.ask(slot)
        return _Pending(sample, described, described_s, slot, preparer)

    def _take(self, pending: _Pending) -> Prepared:
        if pending.error is not None:
            self._fill()
            raise pending.error
        begun = time.perf_counter()
        answer = None if pending.preparer is None else self._await(pending.preparer, pending.sample)
        waited_s = time.perf_counter() - begun
        if answer is None or answer.unable is not None or answer.failure is not None:
            if answer is not None:
                self._free.append(pending.slot)
            self._fill()
            if answer is not None and answer.failure is not None:
                raise FailedElsewhere(*answer.failure)
            return Prepared(self._adapter.place(self._adapter.read(pending.described), pending.sample), -waited_s)
        data = self._slots[pending.slot].read(lends_tensors=self._on_gpu)
        inputs = self._adapter.place(data, pending.sample)
        self._free.append(pending.slot)
        self._fill()
        return Prepared(inputs, answer.read_s + pending.described_s - waited_s)

    def _await(self, preparer: Preparer, sample: Sample) -> Answer:
        while True:
            answer = preparer.answer(LOOK_S, sample["sample_token"])
            if answer is not None:
                return answer
            if self._is_stopping():
                raise Interrupted


class Interrupted(BaseException):
    """The host asked the worker to end while it waited. What handles exceptions of an adapter lets it pass."""


def make_reader(adapter: Adapter, processes: int, *, on_gpu: bool, is_stopping: Callable[[], bool]) -> Reader:
    """Return what reads ahead by `processes` processes, if the adapter can be asked to and there are any."""
    if processes < 1:
        return Reader(adapter)
    if not adapter.reads_apart():
        text = "samples are read in turn: {} has no `read` apart from `prepare`\n"
        sys.stderr.write(text.format(adapter.name))
        return Reader(adapter)
    return AheadReader(adapter, processes, on_gpu=on_gpu, is_stopping=is_stopping)
