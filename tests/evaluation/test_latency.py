"""Latency says what its samples carry."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy.special import bdtr

from admlops.evaluation.latency.summary import PERCENTILES, binomial_cdf, distribution, samples_needed, summarize
from admlops.results.record import BatchShare, Metadata, Precision


def sample(index: int, *, time_s: float | None = 0.1, status: str = "ok") -> Metadata:
    return Metadata(
        model_name="M",
        variant="v",
        run="r",
        sample_token=f"t{index}",
        scene="s",
        index_in_scene=index,
        status=status,  # type: ignore[arg-type]
        inference_time=time_s,
        end_to_end_time=None if time_s is None else 2 * time_s,
    )


def test_the_precision_is_what_the_records_say() -> None:
    single = Precision(activations="float32", tf32_convolutions=False, tf32_matmul=False)
    half = Precision(activations="half", tf32_convolutions=True, tf32_matmul=False)
    labelled = [single.label, half.label, structs.replace(single, tf32_convolutions=True, tf32_matmul=True).label]
    assert labelled == ["float32", "half, TF32 convolutions", "float32, TF32"]
    for shared in (None, "with another run"):
        found = summarize([structs.replace(sample(0), precision=single)], precision="int8", shared=shared)
        assert found.precision == "int8", "what an engine's file computes in, the records cannot say"

    def timed(*found: Precision) -> list[Metadata]:
        return [structs.replace(sample(index), precision=found[index % len(found)]) for index in range(80)]

    assert summarize(timed(half)).to_json()["precision"] == "half, TF32 convolutions"
    assert summarize([sample(index) for index in range(80)]).precision is None, "older records do not say"
    mixed = summarize(timed(single, half))
    assert (mixed.verdict, mixed.precision) == ("INVALID", "float32; half, TF32 convolutions")
    assert "samples ran in different precisions" in mixed.reasons[-1]


def test_the_counts_that_mlperf_states() -> None:
    assert [samples_needed(p) for p in (0.5, 0.9, 0.99, 0.999)] == [11, 64, 662, 6636]


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_the_counts_are_the_smallest(percentile: float) -> None:
    def chance(n: int) -> float:
        """At most one of n above the percentile."""
        return percentile**n + n * (1 - percentile) * percentile ** (n - 1)

    n = samples_needed(percentile)
    assert chance(n) <= 0.01 < chance(n - 1)


@pytest.mark.parametrize("share", [1 - percentile for percentile in PERCENTILES])
@pytest.mark.parametrize("n", [1, 2, 11, 64, 662, 6019, 50_000])
def test_the_binomial_is_that_of_scipy(n: int, share: float) -> None:
    spread = math.sqrt(n * share * (1 - share))
    around = {round(n * share + far * spread) for far in (-40, -6, -2.3, -1, 0, 1, 3, 20)} | {0, 1, n - 1, n}
    for most in sorted(k for k in around if 0 <= k <= n):
        assert binomial_cdf(most, n, share) == pytest.approx(float(bdtr(most, n, share)), rel=1e-8, abs=1e-290)


def test_percentiles_appear_with_their_counts() -> None:
    for n, expected in (
        (10, []),
        (11, ["p50"]),
        (63, ["p50"]),
        (64, ["p50", "p90"]),
        (662, ["p50", "p90", "p95", "p99"]),
    ):
        assert list(distribution([0.1] * n).to_json()["percentiles"]) == expected


def test_numbers_by_hand() -> None:
    times = [index / 1000 for index in range(1, 65)]
    found = distribution(list(reversed(times)))
    assert (found.min_s, found.max_s, found.n) == (0.001, 0.064, 64)
    assert found.mean_s == pytest.approx(statistics.fmean(times))
    assert found.std_s == pytest.approx(statistics.stdev(times))
    median, p90 = found.percentiles
    assert (median.value_s, p90.value_s) == (0.032, 0.058)
    assert p90.upper_bound_s == 0.063  # one of 64 above it is allowed


@given(st.lists(st.floats(1e-4, 10), min_size=64, max_size=400))
def test_order_holds(times: list[float]) -> None:
    found = distribution(times)
    values = [entry.value_s for entry in found.percentiles]
    assert values == sorted(values)
    for entry in found.percentiles:
        assert entry.value_s <= entry.upper_bound_s <= max(times)
        assert np.mean(np.array(times) <= entry.value_s) >= entry.percentile - 1e-9
    assert found.min_s is not None
    assert found.mean_s is not None
    assert found.min_s <= found.mean_s + 1e-12


def test_the_upper_bound_holds_ninety_nine_times_in_a_hundred() -> None:
    rng = np.random.default_rng(5)
    true_p90 = -math.log(0.1)
    covered = [
        distribution(rng.exponential(size=80).tolist()).percentiles[1].upper_bound_s >= true_p90 for _ in range(600)
    ]
    assert np.mean(covered) >= 0.98


def test_first_frames_stand_apart() -> None:
    latency = summarize([sample(index % 40, time_s=9.0 if index % 40 == 0 else 0.1) for index in range(120)])
    assert (latency.inference.n, latency.first_inference.n) == (117, 3)
    assert latency.inference.max_s == 0.1
    assert latency.first_end_to_end.mean_s == 18.0
    assert latency.inference_fps == pytest.approx(10.0)
    assert latency.end_to_end_fps == pytest.approx(5.0)
    assert (latency.verdict, latency.reasons) == ("VALID", ())


def test_too_few_samples_are_invalid_and_say_how_many() -> None:
    latency = summarize([sample(index) for index in range(41)])
    assert latency.verdict == "INVALID"
    assert "40 samples" in latency.reasons[0]
    assert "64" in latency.reasons[0]
    assert latency.suggested_samples == 65


def test_failures_and_missing_times_are_invalid() -> None:
    records = [sample(index) for index in range(100)]
    failed = summarize([*records, sample(100, time_s=None, status="failed")])
    assert failed.verdict == "INVALID"
    assert "1 sample failed" in failed.reasons[0]
    assert failed.inference.n == 99
    untimed = summarize([*records, sample(100, time_s=None)])
    assert "without a time" in untimed.reasons[0]


def test_nothing_measured() -> None:
    latency = summarize([])
    assert latency.verdict == "INVALID"
    assert latency.to_json()["inference"] == {
        "n": 0, "mean_s": None, "std_s": None, "min_s": None, "max_s": None, "percentiles": {},
    }  # fmt: skip
    assert latency.inference_fps is None


def batched(index: int, *, size: int, share_s: float) -> Metadata:
    share = BatchShare(size=size, inference_share=share_s, end_to_end_share=2 * share_s)
    return structs.replace(sample(index), inference_time=None, end_to_end_time=None, batch=share)


def test_throughput_stands_beside_latency() -> None:
    one = summarize([sample(index) for index in range(80)], pictures=6).throughput
    assert one is not None
    assert one.to_json() == {"samples_per_s": pytest.approx(5.0), "pictures_per_s": pytest.approx(30.0), "batch": 1}
    unknown = summarize([sample(index) for index in range(80)]).throughput
    assert unknown is not None
    assert unknown.pictures_per_s is None


def test_a_run_in_batches_has_a_throughput_and_no_latency() -> None:
    """At the size of most samples: those of the search for it are left out, and so is the first of the scene."""
    search = [batched(0, size=1, share_s=9.0), batched(1, size=1, share_s=0.5), batched(2, size=2, share_s=0.3)]
    latency = summarize([*search, *(batched(index, size=4, share_s=0.05) for index in range(3, 80))], pictures=1)
    assert latency.throughput is not None
    assert latency.throughput.to_json() == {
        "samples_per_s": pytest.approx(10.0),
        "pictures_per_s": pytest.approx(10.0),
        "batch": 4,
    }
    assert latency.verdict == "INVALID"
    assert latency.reasons == (
        "up to 4 samples were done at once, and none has a time of its own: run it without --batch",
    )
    assert (latency.inference.n, latency.inference_fps, latency.end_to_end.mean_s) == (0, None, None)
    assert latency.suggested_samples == 80


def test_a_shared_device_gives_no_latency_whatever_was_measured() -> None:
    times = [sample(index) for index in range(80)]
    alone, shared = (
        summarize(times, pictures=6),
        summarize(times, pictures=6, shared="beside PETR-1 on the same device"),
    )
    assert (alone.verdict, alone.shared) == ("VALID", None)
    assert shared.verdict == "INVALID"
    assert "measured beside PETR-1 on the same device" in shared.reasons[0]
    assert (shared.inference_fps, shared.end_to_end_fps, shared.throughput) == (None, None, None)
    assert shared.inference.percentiles == shared.end_to_end.percentiles == ()
    assert shared.shared is not None
    assert shared.shared.inference == alone.inference
    assert shared.shared.throughput == alone.throughput
    assert "shared" not in alone.to_json()
