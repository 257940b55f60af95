"""Every failure of a worker ends in its class, with a kept log, no process left, and a run whole or resumable."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.execution.execution_bench import PATIENT, Bench, Watched

from admlops.cli.signals import cancel_on_signals
from admlops.execution.deadlines import BUSY_CALLS, MOST_CROWDED, Deadlines
from admlops.execution.failures import POLICIES
from admlops.results.record import FailureClass
from admlops.results.run_folder import records_digest

QUICK_START = Deadlines(start_s=1.0, call_s=60, silence_s=60, total_s=300)
QUICK_CALL = Deadlines(start_s=60, call_s=1.5, silence_s=60, total_s=300)
QUICK_SILENCE = Deadlines(start_s=60, call_s=60, silence_s=2.6, total_s=300)
FLAWED_SAMPLE = {"at": "b-1"}


def statuses(bench: Bench) -> dict[str, str]:
    """Sample token → failure class, or "ok"."""
    return {
        record.metadata.sample_token: record.metadata.failure.kind if record.metadata.failure else "ok"
        for record in bench.records()
    }


# --- what does no harm


def test_printing_to_stdout_never_disturbs_the_protocol(bench: Bench) -> None:
    summary = bench.go({"behaviour": "chatter", **FLAWED_SAMPLE})
    assert (summary.state, summary.ok) == ("complete", 12)
    assert "a child speaks" in bench.log()
    assert "ADM1 this is not a frame" in bench.log()


def test_a_flood_on_stderr_neither_blocks_nor_fills_the_disk(bench: Bench) -> None:
    summary = bench.go({"behaviour": "flood", **FLAWED_SAMPLE})
    assert (summary.state, summary.ok) == ("complete", 12)
    size_bytes = (bench.path / "logs" / "worker-0.log").stat().st_size
    assert size_bytes <= 64 << 20
    log = bench.log()
    assert log.startswith("--- worker 0, start 1")
    assert "bytes of output were cut here" in log


def test_children_that_ignore_term_are_gone_with_the_worker(bench: Bench) -> None:
    assert bench.go({"behaviour": "breed", **FLAWED_SAMPLE}).state == "complete"
    assert bench.living() == []
    assert [event["left"] for event in bench.events("worker_stopped")] == [[]]


def test_children_of_a_hung_worker_are_gone_too(bench: Bench) -> None:
    summary = bench.go({"behaviour": "breed_and_hang", **FLAWED_SAMPLE}, deadlines=QUICK_CALL)
    assert bench.failures() == [("hang", "retry"), ("hang", "skip_scene")]
    assert (summary.state, summary.ok, summary.failed) == ("complete", 9, 3)


# --- failures of one sample


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("data", "data", "/data/b-1.jpg cannot be read"),
        ("raise", "model", "ValueError: a tensor at 0x… has the wrong shape"),
        ("nan", "model", "outputs.detections_3d[0].bbox_3d.center[1] is not a finite number"),
        ("not_json", "model", "outputs are not plain JSON: Object of type object is not JSON serializable"),
        ("huge", "model", "bytes are over the limit of 16777216"),
    ],
)
def test_a_bad_sample_costs_itself_and_no_more(bench: Bench, behaviour: str, kind: str, words: str) -> None:
    summary = bench.go({"behaviour": behaviour, **FLAWED_SAMPLE})
    assert (summary.state, summary.ok, summary.failed, summary.retries) == ("complete", 11, 1, 0)
    assert {token: status for token, status in statuses(bench).items() if status != "ok"} == {"b-1": kind}
    failure = bench.records()[5].metadata.failure
    assert failure
    assert words in failure.message
    assert failure.hint
    assert bench.failures() == [(kind, "skip_sample")]


def test_the_first_five_failures_in_a_row_stop_the_run(bench: Bench) -> None:
    bench.shape = {"a": 8, "b": 8}
    summary = bench.go({"behaviour": "raise", "at": [f"a-{index}" for index in range(8)]})
    assert summary.state == "failed"
    assert summary.stopped_by
    assert summary.stopped_by.kind == "model"
    assert bench.failures() == [("model", "skip_sample")] * 5
    assert bench.records() == []
    assert bench.run.header.state == "failed"
    assert bench.go().state == "complete"
    assert bench.tokens() == bench.all_tokens()


def test_four_failures_do_not_stop_it(bench: Bench) -> None:
    summary = bench.go({"behaviour": "raise", "at": ["a-0", "a-1", "a-2", "a-3"]})
    assert (summary.state, summary.failed) == ("complete", 4)


def test_out_of_gpu_memory_is_tried_smaller(bench: Bench) -> None:
    summary = bench.go({"behaviour": "cuda_oom", "fits_at": 2, **FLAWED_SAMPLE})
    assert (summary.state, summary.ok, summary.retries) == ("complete", 12, 2)
    # The scene after it begins at full size again, or its records would depend on its neighbours.
    assert [event["shrink"] for event in bench.events("worker_started")] == [0, 1, 2, 0]


def test_out_of_gpu_memory_at_the_smallest_skips_the_sample(bench: Bench) -> None:
    summary = bench.go({"behaviour": "cuda_oom", **FLAWED_SAMPLE})
    assert (summary.state, summary.ok, summary.failed) == ("complete", 11, 1)
    assert bench.failures() == [("cuda_oom", "retry"), ("cuda_oom", "retry"), ("cuda_oom", "skip_sample")]
    assert statuses(bench)["b-1"] == "cuda_oom"


# --- failures that cost the worker


@pytest.mark.parametrize(
    ("behaviour", "kind", "words", "deadlines"),
    [
        ("kill", "crash", "killed by SIGKILL", PATIENT),
        ("segfault", "crash", "killed by SIGSEGV", PATIENT),
        ("exit_3", "crash", "exit code 3", PATIENT),
        ("memory_error", "host_oom", "MemoryError: Unable to allocate 40 GiB", PATIENT),
        ("poisoned", "poisoned", "illegal memory access", PATIENT),
        ("sleep", "hang", "no result within 1.5 s (the call deadline)", QUICK_CALL),
        ("freeze", "hang", "(the silence deadline)", QUICK_SILENCE),
        ("hold", "hang", "(the silence deadline)", QUICK_SILENCE),
    ],
)
def test_a_lost_worker_is_replaced_once_then_the_scene_is_skipped(
    bench: Bench, behaviour: str, kind: str, words: str, deadlines: Deadlines
) -> None:
    summary = bench.go({"behaviour": behaviour, **FLAWED_SAMPLE}, deadlines=deadlines)
    assert bench.failures() == [(kind, "retry"), (kind, "skip_scene")]
    assert (summary.state, summary.ok, summary.failed, summary.retries) == ("complete", 9, 3, 1)
    assert statuses(bench) == {token: kind if token in {"b-1", "b-2", "b-3"} else "ok" for token in bench.all_tokens()}
    failure = bench.records()[5].metadata.failure
    assert failure
    assert words in failure.message
    assert [failure.kind for failure in summary.failures] == [kind]
    assert "--- worker 0, start 2" in bench.log()
    assert bench.living() == []


@pytest.mark.parametrize("behaviour", ["kill", "exit_3", "memory_error", "poisoned"])
def test_a_second_try_gives_the_records_of_an_undisturbed_run(bench: Bench, tmp_path: Path, behaviour: str) -> None:
    bench.go({"behaviour": behaviour, "once": str(tmp_path / "once"), **FLAWED_SAMPLE})
    assert set(statuses(bench).values()) == {"ok"}
    (tmp_path / "calm").mkdir()
    calm = Bench(tmp_path / "calm")
    calm.go()
    assert records_digest(bench.run) == records_digest(calm.run)
    taken_back = [step.samples for step in bench.progress if step.kind == "retry"]
    assert taken_back == [-1]
    assert sum(step.samples for step in bench.progress) == 12


def test_the_last_words_of_a_crash_are_kept(bench: Bench) -> None:
    summary = bench.go({"behaviour": "exit_3", **FLAWED_SAMPLE})
    assert "the last words" in summary.failures[0].detail
    assert "the last words" in bench.events("failure")[0]["detail"]
    assert "the last words" in bench.log()


def test_retries_have_a_limit(bench: Bench) -> None:
    tokens = [f"{scene}-0" for scene in bench.shape]
    summary = bench.go({"behaviour": "kill", "at": tokens}, retry_limit=2)
    assert summary.state == "failed"
    assert summary.retries == 2
    assert summary.stopped_by
    assert summary.stopped_by.kind == "crash"
    assert statuses(bench) == {token: "crash" for token in bench.all_tokens() if token[0] in "ab"}
    assert bench.go().state == "complete"
    assert bench.tokens() == bench.all_tokens()


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB, or a skip that says why there is none."""
    for parent, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(parent, f"admlops-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            (group / limit).write_text(str(100 << 20))
            yield group
            group.rmdir()
            return
        group.rmdir()
    pytest.skip("needs a memory cgroup that this user may create (root, or a delegated cgroup)")


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_a_crash(bench: Bench, small_cgroup: Path) -> None:
    summary = bench.go({"behaviour": "eat", "cgroup": str(small_cgroup), **FLAWED_SAMPLE})
    assert bench.failures() == [("host_oom", "retry"), ("host_oom", "skip_scene")]
    assert (summary.state, summary.ok, summary.failed) == ("complete", 9, 3)
    failure = bench.records()[5].metadata.failure
    assert failure
    assert "for want of memory (SIGKILL)" in failure.message


# --- failures that stop the run


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("arch", "arch", "no kernel image is available"),
        ("unknown_field", "protocol", "unknown field `colour` - at `$.outputs.detections_3d[0]`"),
        ("out_of_range", "protocol", "<= 1.0 - at `$.outputs.detections_3d[0].confidence`"),
        ("wrong_token", "protocol", "sample_token is 'another' where 'b-1' was due"),
    ],
)
def test_what_no_retry_can_mend_stops_the_run(bench: Bench, behaviour: str, kind: str, words: str) -> None:
    summary = bench.go({"behaviour": behaviour, **FLAWED_SAMPLE})
    assert summary.stopped_by
    assert (summary.state, summary.stopped_by.kind) == ("failed", kind)
    assert words in summary.stopped_by.message
    assert (summary.ok, summary.failed, summary.remaining) == (4, 0, 8)
    assert bench.go().state == "complete"
    assert bench.tokens() == bench.all_tokens()


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        ("garbage", "protocol", "not a frame: it begins with b'Load'"),
        ("old_protocol", "protocol", "the worker speaks protocol 0"),
        ("another_model", "protocol", "the adapter says it is Other, not StandIn"),
        ("result_first", "protocol", "Result where Hello was due"),
        ("half_frame_and_exit", "protocol", "the stream ended inside a frame, after 40 bytes"),
        ("50_megabytes", "protocol", "frame of 52428800 bytes is over the limit"),
        ("unknown_kind", "protocol", "unknown kind of frame: 77"),
        ("host_kind", "protocol", "a worker does not send load frames"),
        ("not_json", "protocol", "result frame: JSON is malformed"),
        ("nan", "protocol", "result frame: JSON is malformed"),
        ("negative_time", "protocol", "at `$.inference_time`"),
        ("missing_field", "protocol", "missing required field `inference_time`"),
        ("early_scene_done", "protocol", "SceneDone where the answer for sample a-0 was due"),
        ("close", "protocol", "the worker closed its pipe and runs on"),
    ],
)
def test_a_broken_protocol_stops_the_run(bench: Bench, raw: str, kind: str, words: str) -> None:
    summary = bench.go(raw=raw)
    assert summary.stopped_by
    assert (summary.state, summary.stopped_by.kind) == ("failed", kind)
    assert words in summary.stopped_by.message
    assert bench.failures() == [(kind, "stop")]
    assert bench.living() == []


@pytest.mark.parametrize(
    ("raw", "kind", "words", "deadlines"),
    [
        ("nothing", "hang", "the model was not loaded within 1 s (the start deadline)", QUICK_START),
        ("exit_at_once", "crash", "exit code 0", PATIENT),
    ],
)
def test_a_worker_that_cannot_start_is_tried_twice_then_the_run_stops(
    bench: Bench, raw: str, kind: str, words: str, deadlines: Deadlines
) -> None:
    summary = bench.go(raw=raw, deadlines=deadlines)
    assert bench.failures() == [(kind, "retry"), (kind, "stop")]
    assert summary.state == "failed"
    assert summary.stopped_by
    assert words in summary.stopped_by.message
    assert summary.remaining == 12


@pytest.mark.parametrize(
    ("raw", "words"), [("import_error", "ModuleNotFoundError: No module named"), ("syntax_error", "SyntaxError:")]
)
def test_an_adapter_that_cannot_be_imported_is_told_as_such_and_not_tried_again(
    bench: Bench, raw: str, words: str
) -> None:
    summary = bench.go(raw=raw)
    assert bench.failures() == [("model", "stop")]
    assert summary.state == "failed"
    assert summary.stopped_by
    assert f"the adapter cannot be imported: {words}" in summary.stopped_by.message
    assert "raw.py, line" in summary.stopped_by.message


def test_a_worker_that_computes_on_the_cpu_for_longer_than_a_call_is_no_hang(bench: Bench) -> None:
    summary = bench.go({"behaviour": "spin", "spin_s": 4.0, **FLAWED_SAMPLE}, deadlines=QUICK_CALL)
    assert (summary.state, summary.ok, summary.retries) == ("complete", 12, 0)


@pytest.mark.full
def test_a_busy_loop_is_ended_at_its_bound(bench: Bench, tmp_path: Path) -> None:
    bench.shape = {"b": 2}
    flaw = {"behaviour": "spin", "once": str(tmp_path / "once"), **FLAWED_SAMPLE}
    summary = bench.go(flaw, deadlines=Deadlines(start_s=60, call_s=0.5, silence_s=60, total_s=300))
    assert bench.failures() == [("hang", "retry")]
    assert summary.state == "complete"
    found = re.search(r"extended to ([\d.]+) s while it computed", bench.events("failure")[0]["message"])
    assert found is not None
    assert 0.5 * BUSY_CALLS <= float(found[1]) <= MOST_CROWDED * 0.5 * BUSY_CALLS


def test_a_limit_of_the_users_own_is_not_extended(bench: Bench) -> None:
    bench.shape = {"b": 2}
    summary = bench.go({"behaviour": "spin", **FLAWED_SAMPLE}, deadlines=PATIENT.with_call(1.5))
    assert bench.failures() == [("hang", "retry"), ("hang", "skip_scene")]
    assert "INFERENCE_TIMEOUT" in summary.failures[0].message


def test_a_kill_by_hand_is_no_want_of_memory_though_the_kernel_kills_elsewhere(
    bench: Bench, small_cgroup: Path
) -> None:
    """The machine's count of kills rises while the worker lives that is then killed by hand."""
    group = str(small_cgroup / "cgroup.procs")
    eater = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); a = [os.urandom(1 << 26) for _ in range(9)]"
    )
    codes: list[int] = []

    def kill_another(step: Any) -> None:
        if step.kind == "sample" and not codes:
            codes.append(subprocess.run([sys.executable, "-c", eater, group], check=False).returncode)

    bench.progress = Watched(kill_another)
    bench.go({"behaviour": "kill", "pause_s": 0.3, **FLAWED_SAMPLE})
    assert codes == [-signal.SIGKILL]
    assert bench.failures() == [("crash", "retry"), ("crash", "skip_scene")]


def test_an_import_error_is_in_the_log_and_the_summary(bench: Bench) -> None:
    summary = bench.go(raw="import_error")
    assert summary.stopped_by
    assert "No module named 'no_such_module_anywhere'" in summary.stopped_by.detail
    assert "No module named 'no_such_module_anywhere'" in bench.log()


def test_an_adapter_that_raises_while_loading_stops_the_run(bench: Bench) -> None:
    summary = bench.go({"behaviour": "raise", "at": "load"})
    assert bench.failures() == [("model", "stop")]
    assert summary.state == "failed"


def test_an_adapter_that_raises_at_a_scene_loses_that_scene(bench: Bench) -> None:
    summary = bench.go({"behaviour": "memory_error", "at": "start_scene"})
    assert summary.state == "complete"
    assert set(statuses(bench).values()) == {"host_oom"}


@pytest.mark.parametrize(("raw", "kind"), [("half_frame", "hang"), ("half_frame_and_die", "crash")])
def test_half_a_frame_is_explained_by_what_follows(bench: Bench, raw: str, kind: str) -> None:
    bench.shape = {"a": 2}
    summary = bench.go(raw=raw, deadlines=QUICK_CALL)
    assert bench.failures() == [(kind, "retry"), (kind, "skip_scene")]
    assert (summary.state, summary.failed) == ("complete", 2)


# --- cancelling


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_the_run_goes_on_later(bench: Bench, number: int) -> None:
    def interrupt(step: Any) -> None:
        seen.append(step)
        if len(seen) == 4:
            os.kill(os.getpid(), number)

    seen: list[Any] = []
    before = signal.getsignal(number)  # a shell's background job has SIGINT ignored, for instance
    bench.progress = Watched(interrupt)
    with cancel_on_signals() as token:
        summary = bench.go({"pause_s": 0.05}, workers=2, cancel=token)
    assert (summary.state, bench.run.header.state) == ("cancelled", "cancelled")
    assert summary.remaining > 0
    assert bench.living() == []
    assert signal.getsignal(number) is before
    bench.progress = []
    assert bench.go().state == "complete"
    assert bench.tokens() == bench.all_tokens()


def test_every_class_has_a_policy_and_a_hint() -> None:
    assert set(POLICIES) == set(FailureClass.__args__)  # type: ignore[attr-defined]
    assert all(policy.hint for policy in POLICIES.values())
