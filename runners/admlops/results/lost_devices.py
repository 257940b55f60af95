"""The devices that a run lost or took out while it went on, as its `events.jsonl` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class LostDevices:
    """Devices of one machine (`node`; empty: the run's own) that went for the same reason, and what to do about it.

    `kind` is the failure class, `at` the time of the first [unix s], `workers` the numbers of the workers on them.
    """

    node: str
    devices: tuple[str, ...]
    device_name: str
    kind: str
    at: float
    reason: str
    hint: str
    workers: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """Say which devices are out of the run, since when and why."""
        where = f" of {self.node}" if self.node else ""
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{', '.join(self.devices)} ({self.device_name}){where}, {when} ({self.kind}): {self.reason}"

    @property
    def facts(self) -> dict[str, Any]:
        """Return it for JSON, with the keys of the event."""
        facts = asdict(self)
        return {"class" if key == "kind" else key: value for key, value in facts.items()}


def list_lost_devices(run: RunFolder, *, last_start_only: bool = False) -> list[LostDevices]:
    """Return what a run has lost, in order; with `last_start_only` since it was last started or resumed."""
    events: list[Mapping[str, Any]] = []
    for event in run.events():
        if event.get("event") == "run_started" and last_start_only:
            events = []
        elif event.get("event") == "device_lost":
            events.append(event)
    return _group(events)


def _group(events: Iterable[Mapping[str, Any]]) -> list[LostDevices]:
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        key = (str(event.get("node", "")), str(event.get("class")), str(event.get("reason")))
        groups.setdefault(key, []).append(event)
    return [
        LostDevices(
            node=node,
            devices=tuple(str(event.get("device")) for event in group),
            device_name=str(group[0].get("device_name")),
            kind=kind,
            at=float(group[0].get("t", 0.0)),
            reason=reason,
            hint=str(group[0].get("hint", "")),
            workers=tuple(number for event in group for number in event.get("workers", ())),
        )
        for (node, kind, reason), group in groups.items()
    ]
