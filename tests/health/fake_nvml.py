"""The driver's library of a machine with made-up cards, for whatever asks NVML in the tests' own process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

POWER_W, WORK_J = 50.0, 7.0
"""What every card draws all the time, and what one call of `Card.work` costs on top."""


@dataclass(eq=False)
class Card:
    """One GPU, or one slice of a divided one; memory in MiB."""

    name: str = "NVIDIA H200"
    capability: tuple[int, int] = (9, 0)
    used_mib: int = 1000
    total_mib: int = 143771
    temperature_c: int = 40
    ecc_errors: int = 0
    throttled: int = 0
    works: int = 0
    slices: Sequence[Card] = ()
    instance: int | None = None
    parent: Card | None = None
    answers: bool = True

    def work(self) -> None:
        self.works += 1


@dataclass
class FakeNvml:
    """NVML as a module; `cards` may change while it is asked."""

    cards: Sequence[Card] = ()
    driver: str = "570.124.06"
    fails: str = ""
    events: list[tuple[Card, int]] = field(default_factory=list)
    nvmlMemory_v2 = 0x02000028  # noqa: N815
    nvmlEventTypeXidCriticalError = 8  # noqa: N815

    class NVMLError(Exception):
        """NVML's own error."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def refuse(*_: Any) -> Any:
            raise self.NVMLError("Not Supported")

        return refuse

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails:
            raise self.NVMLError(self.fails)
        if not self.cards:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        if not self.cards[index].answers:
            raise self.NVMLError("GPU is lost")
        return self.cards[index]

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlDeviceGetName(self, card: Card) -> str:  # noqa: N802
        return card.name

    def nvmlDeviceGetUUID(self, card: Card) -> str:  # noqa: N802
        if card.parent is not None:
            return f"MIG-{self.cards.index(card.parent)}-{card.instance}"
        return f"GPU-{self.cards.index(card)}abc"

    def nvmlDeviceGetPciInfo(self, card: Card) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"0000000{self.cards.index(card)}:18:00.0".encode())

    def nvmlDeviceGetCudaComputeCapability(self, card: Card) -> tuple[int, int]:  # noqa: N802
        return card.capability

    def nvmlDeviceGetMemoryInfo(self, card: Card, version: int | None = None) -> Any:  # noqa: N802
        reserved = 500 << 20
        total, used = card.total_mib << 20, card.used_mib << 20
        if version is None:
            return SimpleNamespace(total=total, used=used + reserved, free=total - used - reserved)
        return SimpleNamespace(total=total, used=used, free=total - used - reserved, reserved=reserved)

    def nvmlDeviceGetTemperature(self, card: Card, sensor: int) -> int:  # noqa: N802
        assert sensor == 0
        return card.temperature_c

    def nvmlDeviceGetTotalEccErrors(self, card: Card, kind: int, counter: int) -> int:  # noqa: N802
        assert (kind, counter) == (1, 0)
        return card.ecc_errors

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: Card) -> int:  # noqa: N802
        return card.throttled

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> Any:  # noqa: N802
        if card.slices:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=93, memory=41)

    def nvmlDeviceGetClockInfo(self, _: Card, kind: int) -> int:  # noqa: N802
        return {1: 1980, 2: 3201}[kind]

    def nvmlDeviceGetPowerUsage(self, _: Card) -> int:  # noqa: N802
        return int(POWER_W * 1e3)

    def nvmlDeviceGetTotalEnergyConsumption(self, card: Card) -> int:  # noqa: N802
        return int(1e9 + 1e3 * (POWER_W * time.monotonic() + WORK_J * card.works))

    def nvmlDeviceGetMigMode(self, card: Card) -> list[int]:  # noqa: N802
        return [int(bool(card.slices))] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:  # noqa: N802
        return len(card.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, index: int) -> Card:  # noqa: N802
        return card.slices[index]

    def nvmlDeviceIsMigDeviceHandle(self, card: Card) -> int:  # noqa: N802
        return int(card.parent is not None)

    def nvmlDeviceGetGpuInstanceId(self, card: Card) -> int:  # noqa: N802
        if card.instance is None:
            raise self.NVMLError("Invalid Argument")
        return card.instance

    def nvmlEventSetCreate(self) -> list[Card]:  # noqa: N802
        return []

    def nvmlDeviceRegisterEvents(self, card: Card, kinds: int, event_set: list[Card]) -> None:  # noqa: N802
        assert kinds == self.nvmlEventTypeXidCriticalError
        event_set.append(card)

    def nvmlEventSetWait_v2(self, _: list[Card], timeout_ms: int) -> Any:  # noqa: N802
        if not self.events:
            raise self.NVMLError("Timeout")
        assert timeout_ms == 0
        card, code = self.events.pop(0)
        return SimpleNamespace(device=card, eventData=code)


def divided(*profiles: str) -> Card:
    """Make a card that is divided into slices of these profiles, such as `3g.71gb`."""
    card = Card()
    card.slices = [
        Card(name=f"NVIDIA H200 MIG {profile}", total_mib=71000, instance=number, parent=card)
        for number, profile in enumerate(profiles, start=1)
    ]
    return card
