"""Telling a bad device from a bad scene: a device fails at many scenes, a scene fails on many devices."""

from __future__ import annotations

from collections import defaultdict

from admlops.execution.device_key import DeviceKey
from admlops.execution.failures import POLICIES
from admlops.results.record import FailureClass


class DeviceWatch:
    """Counts, for each device, the scenes at which it alone has failed."""

    def __init__(self) -> None:
        self._failed: defaultdict[FailureClass, dict[str, DeviceKey]] = defaultdict(dict)
        self._bad_scenes: set[str] = set()

    def note(self, device: DeviceKey, kind: FailureClass, scene: str) -> bool:
        """Note a failure at a scene; say whether the device is to be taken out, as its class's `device_limit` says."""
        limit = POLICIES[kind].device_limit
        if not limit:
            return False
        if limit == 1:
            return True  # only a device can be at fault for this class
        failed = self._failed[kind]
        if scene in self._bad_scenes or failed.setdefault(scene, device) != device:
            self._bad_scenes.add(scene)
            failed.pop(scene, None)
            return False
        return sum(one == device for one in failed.values()) >= limit
