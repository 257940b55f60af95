"""The table of what workers take, what has room beside what, and the search for the best count of workers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.core.errors import RunFailedError, StorageError
from admlops.pipeline.memory_table import CONTEXT_MB, MemoryKey, MemoryRow, MemoryTable
from admlops.pipeline.placing import MARGIN, Needs, Room, needs_of
from admlops.pipeline.throughput import MOST_WORKERS, Throughput, find_best, read_throughput, write_throughput
from admlops.pipeline.trials import LONGEST_S, SAMPLES_A_WORKER, SHORTEST_S, Trial, Window

KEY = MemoryKey(
    model="MapTR",
    variant="modern",
    engine="",
    precision="authors",
    device="A40",
    batch="1",
    prefetch="0",
    config="",
    options="",
)
ROW = MemoryRow(
    key=KEY,
    device_mb=1300.0,
    reserved_mb=747.0,
    host_mb=2500.0,
    cores=0.9,
    samples=40,
    run="first",
    adapter="a",
    measured="2026-01-02T03:04:05+00:00",
)


def test_a_peak_only_grows_while_the_adapter_stays(tmp_path: Path) -> None:
    table = MemoryTable(path=tmp_path / "deep" / "memory.json")
    assert table.rows() == []
    table.note(ROW, say=print)
    smaller = msgspec.structs.replace(ROW, device_mb=900.0, host_mb=2600.0, run="second")
    table.note(smaller, say=print)
    found = table.find(KEY)
    assert found is not None
    assert (found.device_mb, found.host_mb, found.samples, found.run) == (1300.0, 2600.0, 80, "second")
    table.note(msgspec.structs.replace(smaller, adapter="b"), say=print)
    assert table.find(KEY) == msgspec.structs.replace(smaller, adapter="b"), "other code may take less"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["memory.json"]


def test_many_runs_write_it_at_the_same_time(tmp_path: Path) -> None:
    table = MemoryTable(path=tmp_path / "memory.json")
    rows = [msgspec.structs.replace(ROW, key=msgspec.structs.replace(KEY, model=f"M{n}")) for n in range(12)]
    threads = [threading.Thread(target=table.note, args=(row,), kwargs={"say": lambda _: None}) for row in rows]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [row.key.model for row in table.rows()] == sorted(row.key.model for row in rows)


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1, "rows": [{}]}', '{"schema": 1, "rows": [', "\x00"])
def test_a_damaged_table_says_what_to_do(tmp_path: Path, content: str) -> None:
    table = MemoryTable(path=tmp_path / "memory.json")
    table.path.write_text(content)
    for use in (table.rows, lambda: table.note(ROW, say=print)):
        with pytest.raises(
            StorageError, match=r"memory\.json, which says how much memory models take, is damaged"
        ) as e:
            use()
        assert e.value.hint.startswith(f"rm {table.path}")
    assert table.path.read_text() == content
    table.path.write_text('{"schema": 2, "rows": []}')
    with pytest.raises(StorageError, match="reads up to 1"):
        table.rows()


def test_what_a_worker_takes_of_a_gpu() -> None:
    assert ROW.gpu_mb == 1300
    assert msgspec.structs.replace(ROW, device_mb=None).gpu_mb == 747 + CONTEXT_MB
    assert msgspec.structs.replace(ROW, device_mb=None, reserved_mb=None).gpu_mb is None
    assert needs_of(ROW).gpu_mb == pytest.approx(1300 * MARGIN)


def test_room_on_a_card_and_on_a_cpu() -> None:
    card = Room(gpu_mb=24_000, host_mb=30_000, cores=2, devices=1, said="")
    need = Needs(gpu_mb=7_000, host_mb=3_000, cores=1.9)
    assert not card.why_not([need] * 3), "on a GPU cores do not decide"
    assert "28,000 MB of GPU memory, and there are 24,000" in card.why_not([need] * 4)
    assert "MB of memory" in replace(card, devices=4).why_not([need] * 3), "each device has workers of its own"
    cpu = replace(card, gpu_mb=None)
    assert not cpu.why_not([need]), "alone it may have all cores"
    assert "3.8 cores, and there are 2" in cpu.why_not([need, need])
    assert not cpu.why_not([replace(need, cores=0.1)] * 5)
    assert cpu.why_not([replace(need, cores=None), replace(need, cores=0.5)]), "unknown is all of them"


def search(
    rate: dict[int, float], *, cores: float | None = 0.1, most: int | None = None, gpu_mb: float | None = None
) -> Throughput:
    """The search over known rates, by count of workers; a count that has none runs out of memory."""

    def attempt(workers: int, batch: int | Literal["auto"]) -> Trial:
        several = batch == "auto"
        trial = Trial(
            workers=workers,
            batch=8 if several else int(batch),
            samples_per_s=rate.get(workers, 0.0) * (2 if several or batch == 8 else 1) or None,
            j_per_sample=None,
            samples=10,
            seconds=2.0,
            gpu_mb=None if gpu_mb is None else 1000.0 * workers,
            host_mb=100.0 * workers,
            cores=cores,
            energy="",
        )
        return trial if trial.samples_per_s else replace(trial, failed="cuda_oom: out of memory")

    room = Room(gpu_mb=gpu_mb, host_mb=1e6, cores=4, devices=1, said="all")
    return find_best(attempt, room=room, batches=gpu_mb is not None, batch=1, most=most, say=lambda _: None)


def test_the_search_ends_where_more_workers_give_less_than_five_percent() -> None:
    found = search({1: 10, 2: 19, 4: 30, 8: 31})
    assert ([one.workers for one in found.tried], found.workers) == ([1, 2, 4, 8], 4)
    assert found.ended == "8 workers give +3% samples/s over 4"
    assert search({1: 10, 2: 10.4}).workers == 1
    assert search({1: 10, 2: 20}).ended == "cuda_oom: out of memory"
    endless = search({count: count for count in range(1, 100)})
    assert (endless.workers, endless.ended) == (MOST_WORKERS, f"no more than {MOST_WORKERS} workers are tried")
    asked = search({count: count for count in range(1, 100)}, most=3)
    assert ([one.workers for one in asked.tried], asked.workers) == ([1, 2, 3], 3)
    with pytest.raises(RunFailedError, match="tried one worker, and it failed: cuda_oom"):
        search({})


def test_memory_and_cores_bound_the_search() -> None:
    rates = {count: float(count) for count in range(1, 100)}
    on_card = search(rates, gpu_mb=5300.0)
    assert [(one.workers, one.batch) for one in on_card.tried] == [(1, 1), (1, 8), (2, 8), (4, 8), (5, 8)]
    assert (on_card.workers, on_card.batch) == (5, 8)
    assert on_card.ended.startswith("6 workers have no room: 6,300 MB of GPU memory")
    full = search(rates, cores=1.01)
    assert ([one.workers for one in full.tried], full.workers) == ([1, 2, 4], 4)
    assert search(rates, cores=3.9).workers == 1


def test_what_was_found_is_read_back(tmp_path: Path) -> None:
    found = search({1: 10, 2: 19})
    write_throughput(tmp_path / "throughput.json", found)
    again = read_throughput(tmp_path / "throughput.json")
    assert again is not None
    assert (again["workers"], again["tried"][1]["samples_per_s"]) == (2, 19)
    assert read_throughput(tmp_path / "none.json") is None


@given(workers=st.integers(1, 5), pace=st.floats(0.001, 20))
def test_a_window_begins_when_all_are_warm_and_ends_when_it_has_enough(workers: int, pace: float) -> None:
    now = 0.0
    window = Window(workers=workers, batch=1, clock=lambda: now)
    for worker in range(workers):
        assert not window.has_begun
        window.take(worker, 1)
    assert window.has_begun
    while not window.is_over:
        now += pace
        window.take(0, 1)
    assert window.samples / window.seconds == pytest.approx(1 / pace)
    assert window.seconds >= SHORTEST_S
    assert window.samples >= min(SAMPLES_A_WORKER, 2) * workers
    assert window.seconds <= max(LONGEST_S, 2 * workers * pace, workers * SAMPLES_A_WORKER * pace) + pace + SHORTEST_S


def test_a_size_of_batch_is_settled_when_it_stays() -> None:
    window = Window(workers=1, batch="auto", clock=lambda: 0.0)
    for size in (1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4):
        window.take(0, size)
    begun_early = window.has_begun
    assert not begun_early, "each size was tried twice"
    for _ in range(3 * 2):
        window.take(0, 2)
    assert window.has_begun
    assert window.batch == 2
