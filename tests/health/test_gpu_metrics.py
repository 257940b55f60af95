"""GPU values under DCGM's names: units, slices, the energy counter, critical errors."""

from __future__ import annotations

import time

import pytest
from tests.health.fake_nvml import POWER_W, WORK_J, Card, FakeNvml, divided

from admlops.health.gpu_metrics import METRICS, GpuMetrics

PREFIX = "DCGM_FI_DEV_"


def test_every_value_is_in_dcgms_unit() -> None:
    nvml = FakeNvml([Card()])
    (found,) = GpuMetrics(nvml).read()
    assert (found.index, found.uuid, found.pci_bus_id, found.name) == (0, "GPU-0abc", "00000000:18:00.0", "NVIDIA H200")
    values = {name.removeprefix(PREFIX): value for name, value in found.values.items()}
    assert values.pop("TOTAL_ENERGY_CONSUMPTION") > 1e9
    assert values == {
        "SM_CLOCK": 1980,
        "MEM_CLOCK": 3201,
        "GPU_TEMP": 40,
        "POWER_USAGE": 50,
        "GPU_UTIL": 93,
        "MEM_COPY_UTIL": 41,
        "XID_ERRORS": 0,
        "FB_USED": 1000,
        "FB_FREE": 143771 - 1000 - 500,
    }
    assert set(found.values) == {one.name for one in METRICS}


def test_the_energy_counter_is_the_drivers_own() -> None:
    card = Card()
    metrics = GpuMetrics(FakeNvml([card]))
    name = f"{PREFIX}TOTAL_ENERGY_CONSUMPTION"
    before, at = metrics.read()[0].values[name], time.monotonic()
    for _ in range(3):
        card.work()
    after, later = metrics.read()[0].values[name], time.monotonic()
    assert (after - before) / 1e3 == pytest.approx(3 * WORK_J + POWER_W * (later - at), abs=5)


def test_a_slice_has_its_own_memory_and_the_board_the_rest() -> None:
    board, first, second = GpuMetrics(FakeNvml([divided("3g.71gb", "4g.71gb")])).read()
    assert (board.instance, board.profile, board.values[f"{PREFIX}POWER_USAGE"]) == ("", "", 50)
    assert f"{PREFIX}FB_USED" not in board.values
    assert f"{PREFIX}GPU_UTIL" not in board.values
    assert [(one.instance, one.profile, one.uuid) for one in (first, second)] == [
        ("1", "3g.71gb", "GPU-0abc"),
        ("2", "4g.71gb", "GPU-0abc"),
    ]
    assert set(first.values) == {f"{PREFIX}FB_USED", f"{PREFIX}FB_FREE"}


def test_the_last_critical_error_of_each_card_stays() -> None:
    cards = [Card(), Card()]
    nvml = FakeNvml(cards)
    metrics = GpuMetrics(nvml)
    nvml.events += [(cards[1], 31), (cards[1], 79)]
    for _ in range(2):
        assert [one.values[f"{PREFIX}XID_ERRORS"] for one in metrics.read()] == [0, 79]


def test_a_machine_without_driver_has_no_values() -> None:
    assert GpuMetrics(FakeNvml()).read() == []
    assert GpuMetrics(FakeNvml([Card()], fails="Driver/library version mismatch")).read() == []


def test_what_a_driver_does_not_tell_is_left_out() -> None:
    class Old(FakeNvml):
        def nvmlDeviceGetTotalEnergyConsumption(self, card: Card) -> int:  # noqa: N802
            raise self.NVMLError("Not Supported")

        def nvmlEventSetCreate(self) -> list[Card]:  # noqa: N802
            raise self.NVMLError("Insufficient Permissions")

    (found,) = GpuMetrics(Old([Card()])).read()
    assert {one.name for one in METRICS} - set(found.values) == {
        f"{PREFIX}TOTAL_ENERGY_CONSUMPTION",
        f"{PREFIX}XID_ERRORS",
    }
