"""The runtime: plain Python, which has no device to wait for. Runs inside model environments."""

from worker.runtimes.base import Runtime


class CountingRuntime(Runtime):
    """Says what it is in place of the device's name."""

    name = "counting"

    def device_name(self, device: str) -> str:
        return "plain Python on " + device


RUNTIME = CountingRuntime
