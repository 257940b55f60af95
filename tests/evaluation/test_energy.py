"""Joules of known counters: windows, idle, wrap-around, restarts, missing sources; carbon and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from admlops.core.errors import UsageError
from admlops.evaluation.energy.carbon import choose_carbon
from admlops.evaluation.energy.report import Energy, describe_energy, summarize_energy
from admlops.evaluation.energy.scores import correct_per_kj, pareto_front, seed_green_score
from admlops.evaluation.energy.windows import measure

IDLE_W, LOAD_W = 60.0, 260.0


def line(t: float, phase: str, samples: int = 0, **sources: Any) -> dict[str, Any]:
    gpus = [{"index": index, "used": True, **one} for index, one in enumerate(sources.get("gpus", ()))]
    found: dict[str, Any] = {"t": t, "phase": phase, "samples": samples, "gpus": gpus}
    if "zones" in sources:
        found["rapl"] = [
            {"zone": name, "energy_uj": value, "max_energy_uj": 1000_000_000}
            for name, value in sources["zones"].items()
        ]
    return found


def session(energy_at: Any, *, power: bool = False, begin: float = 0.0) -> list[dict[str, Any]]:
    """3 s idle, 5 s loading, 40 s with 20 samples after the first; `energy_at` gives the counter [J] at a time."""

    def gpu(t: float) -> dict[str, Any]:
        watts = IDLE_W if t <= 3 else LOAD_W
        return {"energy_j": energy_at(t), "power_w": watts if power else None}

    times = [(0.0, "idle", 0), (1.5, "idle", 0), (3.0, "start", 0), (5.0, "start", 0), (8.0, "measure", 1)]
    times += [(8.0 + 2.0 * n, "measure", 1 + n) for n in range(1, 20)]
    times += [(48.0, "end", 21), (50.0, "end", 21)]
    return [line(begin + t, phase, count, gpus=[gpu(t)]) for t, phase, count in times]


def counted(t: float) -> float:
    """A counter that idles until 3 s, takes LOAD_W from then on, and began long ago."""
    return 1e6 + IDLE_W * min(t, 3.0) + LOAD_W * max(0.0, t - 3.0)


def test_a_counter_gives_its_joules_net_of_idle() -> None:
    energy = summarize_energy(session(counted), on_gpu=True)
    assert (energy.method, energy.scope, energy.reason) == ("nvml_counter", "GPU boards", "")
    assert energy.gross_j == pytest.approx(LOAD_W * 40)
    assert energy.idle_w == pytest.approx(IDLE_W)
    assert energy.net_j == pytest.approx((LOAD_W - IDLE_W) * 40)
    shape = energy.to_json()
    assert shape["j_per_sample"] == pytest.approx((LOAD_W - IDLE_W) * 40 / 20)
    assert shape["j_per_sample_gross"] == pytest.approx(LOAD_W * 40 / 20)
    assert (shape["window_s"], shape["samples"], shape["windows"], shape["basis"]) == (40.0, 20, 1, "net of idle")


def test_power_is_integrated_where_there_is_no_counter() -> None:
    energy = summarize_energy(session(lambda _: None, power=True), on_gpu=True)
    assert energy.method == "nvml_power"
    assert energy.gross_j == pytest.approx(LOAD_W * 40)
    stuck = summarize_energy(session(lambda _: 5.0, power=True), on_gpu=True)
    assert stuck.method == "nvml_power"
    assert "did not move" in stuck.reason


def test_nothing_measured_is_nothing_and_never_0() -> None:
    for lines, reason in (
        (session(lambda _: None), "neither energy nor power"),
        ([], "there is no telemetry"),
        ([{"t": 0.0, "gpus": []}, {"t": 1.0, "gpus": []}], "no measured window"),
    ):
        energy = summarize_energy(lines, on_gpu=True)
        assert (energy.method, energy.gross_j, energy.to_json()["j_per_sample"]) == (None, None, None)
        assert reason in energy.reason
    assert "no RAPL counter" in summarize_energy(session(counted), on_gpu=False).reason


def test_a_driver_that_was_loaded_anew_is_bridged_by_power() -> None:
    def restarted(t: float) -> float:
        return counted(t) if t < 21 else LOAD_W * (t - 21)

    bridged = summarize_energy(session(restarted, power=True), on_gpu=True)
    assert bridged.gross_j == pytest.approx(LOAD_W * 40)
    assert "power bridges the gap" in bridged.reason
    lost = summarize_energy(session(restarted), on_gpu=True)
    assert lost.method is None


def test_a_resumed_run_has_two_windows() -> None:
    both = measure(session(counted) + session(counted))
    assert both is not None
    assert (both.count, both.seconds, both.samples) == (2, 80.0, 40)
    assert both.gpu[0].gross_j == pytest.approx(LOAD_W * 80)
    assert both.gpu[0].idle_w == pytest.approx(IDLE_W)


def test_a_gpu_that_the_run_was_not_on_does_not_count() -> None:
    lines = session(counted)
    for one in lines:
        one["gpus"].append({"index": 1, "used": False, "energy_j": one["t"] * 1e6, "power_w": None})
    assert summarize_energy(lines, on_gpu=True).gross_j == pytest.approx(LOAD_W * 40)


def test_a_short_window_says_how_well_it_is_known() -> None:
    def lines(seconds: float) -> list[dict[str, Any]]:
        at = [(0.0, "idle", 0), (3.0, "start", 0), (8.0, "measure", 1), (8.0 + seconds, "end", 5)]
        return [line(t, phase, n, gpus=[{"energy_j": counted(t)}]) for t, phase, n in at]

    assert "a window of 4.0 s is known to about 5%" in summarize_energy(lines(4.0), on_gpu=True).reason
    short = summarize_energy(lines(0.4), on_gpu=True)
    assert (short.method, short.gross_j) == (None, None)
    assert "0.40 s is too short" in short.reason


def test_idle_that_is_not_known_or_not_exceeded_gives_no_net_energy() -> None:
    unknown = summarize_energy([one for one in session(counted) if one["phase"] != "idle"], on_gpu=True)
    assert (unknown.net_j, unknown.basis) == (None, "gross")
    assert "idle power was not measured" in unknown.reason
    flat = summarize_energy(session(lambda t: IDLE_W * t), on_gpu=True)
    assert flat.net_j is None
    assert "no more was drawn than idle" in flat.reason


def test_rapl_wraps_around() -> None:
    """Two packages of 1000 J; the first wraps twice within the window, once exactly between two readings."""

    def zones(t: float) -> dict[str, int]:
        joules = 30 * t if t <= 3 else 90 + 100 * (t - 3)
        return {"package-0": int(joules * 1e6 + 700e6) % 1000_000_000, "package-1": int(10 * t * 1e6)}

    at = [(0.0, "idle", 0), (3.0, "start", 0), *((float(t), "measure", t - 7) for t in range(8, 28)), (28.0, "end", 21)]
    energy = summarize_energy([line(t, phase, n, zones=zones(t)) for t, phase, n in at], on_gpu=False)
    assert (energy.method, energy.scope) == ("rapl", "CPU packages and memory")
    assert energy.gross_j == pytest.approx(100 * 20 + 10 * 20)
    assert energy.idle_w == pytest.approx(30 + 10)
    assert energy.net_j == pytest.approx(70 * 20)


def test_carbon_says_where_its_numbers_come_from() -> None:
    france = choose_carbon("fr", None, None)
    assert france is not None
    assert (france.place, france.year, france.pue) == ("France", 2023, 1.0)
    assert france.grams(3.6e6) == pytest.approx(56.0)
    own = choose_carbon("Iceland", 0.028, 1.2)
    assert own is not None
    assert (own.place, own.source) == ("Iceland", "given by the user")
    assert own.grams(3.6e6) == pytest.approx(28 * 1.2)
    assert choose_carbon(None, None, None) is None


@pytest.mark.parametrize(
    ("country", "intensity", "pue", "message"),
    [
        ("Iceland", None, None, "no intensity of 'Iceland'"),
        (None, 381.0, None, "is not in kg CO2e/kWh"),
        (None, -0.1, None, "is not in kg CO2e/kWh"),
        ("FRA", None, 0.5, "not a power usage effectiveness"),
        (None, None, 1.2, "alone gives no carbon"),
    ],
)
def test_numbers_out_of_range_are_refused(
    country: str | None, intensity: float | None, pue: float | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        choose_carbon(country, intensity, pue)


def describe(energy: Energy, **more: Any) -> dict[str, Any]:
    given = {"carbon": choose_carbon("DEU", None, None), "right": 100, "accuracy": 0.8, "time_s": 0.05, "samples": 21}
    return describe_energy(energy, **{**given, **more})


def test_what_follows_from_energy() -> None:
    shape = describe(summarize_energy(session(counted), on_gpu=True))
    each, gross = 400.0, 520.0
    assert shape["carbon"]["g_per_1000_samples"] == pytest.approx(each / 3.6 * 0.3810)
    assert shape["carbon"]["run_g"] == pytest.approx(gross * 21 / 3.6e6 * 381)
    assert shape["correct_cars_per_kj"] == pytest.approx(100 / (each * 21 / 1e3))
    kg = gross * 21 / 3.6e6 * 0.381
    assert shape["seed_green_score"] == pytest.approx(min(100, 10 * 0.8 / (kg * 0.05)))
    assert "not_applicable" not in shape


def test_what_cannot_follow_is_none_with_its_reason() -> None:
    known = summarize_energy(session(counted), on_gpu=True)
    no_place = describe(known, carbon=None)
    assert (no_place["carbon"], no_place["seed_green_score"]) == (None, None)
    assert "--country" in no_place["not_applicable"]["seed_green_score"]
    of_boxes_3d = describe(known, right=None, accuracy=None)
    assert of_boxes_3d["correct_cars_per_kj"] is None
    assert of_boxes_3d["not_applicable"]["seed_green_score"] == "cars are not counted"
    nothing = describe(summarize_energy([], on_gpu=True))
    assert nothing["not_applicable"]["correct_cars_per_kj"] == "there is no telemetry"


def test_the_seeds_score_saturates_and_is_none_at_0() -> None:
    assert seed_green_score(0.9, 0.0, 0.05) is None
    assert seed_green_score(0.9, 0.001, 0.0) is None
    assert seed_green_score(0.9, 2e-7, 0.008) == 100.0
    assert seed_green_score(0.9, 2.0, 0.5) == pytest.approx(9.0)
    assert seed_green_score(0.0, 2.0, 0.5) == 0.0
    assert correct_per_kj(5, 0.0) is None


def test_the_front_has_what_nothing_beats_in_both() -> None:
    points = {"cheap": (1.0, 0.3), "good": (5.0, 0.6), "beaten": (5.0, 0.5), "worse": (6.0, 0.6), "same": (1.0, 0.3)}
    assert pareto_front(points) == ["cheap", "same", "good"]
    assert pareto_front({name: (cost, -score) for name, (cost, score) in points.items()}, higher_is_better=False) == [
        "cheap",
        "same",
        "good",
    ]
    assert pareto_front({}) == []


def test_an_estimate_stands_in_for_what_is_not_measured_under_its_own_name() -> None:
    def estimated(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in lines:
            if one["phase"] == "end":
                one["estimate"] = {"method": "estimate:codecarbon 3.3.2", "energy_j": 900.0}
        return lines

    energy = summarize_energy(estimated(session(lambda _: None)), on_gpu=False)
    assert (energy.method, energy.scope) == ("estimate:codecarbon 3.3.2", "the whole machine, estimated")
    assert (energy.gross_j, energy.net_j, energy.basis) == (900.0, None, "gross")
    assert "idle power was not measured" in energy.reason
    measured = summarize_energy(estimated(session(counted)), on_gpu=True)
    assert measured.method == "nvml_counter"
