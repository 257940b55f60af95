"""Each network with random weights: the heads' outputs on the device against the CPU's, in every precision.

`float32` and `tf32` for all; `authors` for the networks whose configuration asks for half precision, and
`authors_half_positions`, the same without the adapter's correction that keeps positions single.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from networks import compare_arrays, head_arrays, open_network, run_each
from reporting import Report, explain, run_stage

HALF_POSITIONS = "authors_half_positions"


def work(report: Report) -> None:
    run_each(report, __file__, compare_network)


def compare_network(model: str, report: Report) -> Iterator[tuple[str, Any]]:
    """(precision, what is in force and how far each output is from the CPU's)."""
    options = report.options
    adapter, samples = open_network(model, options, device="cpu", precision="float32")
    reference = head_arrays(adapter, samples[0])
    yield "largest", {name: float(abs(array).max()) for name, array in reference.items() if array.size}
    asks_for_half = adapter._config.get("fp16") is not None
    del adapter
    for case in list_cases(options.device, asks_for_half):
        try:
            yield case, run_case(model, report, case, reference)
        except Exception as error:  # noqa: BLE001  one precision that fails leaves the others to be measured
            yield case, {"failed": explain(error)}


def list_cases(device: str, asks_for_half: bool) -> tuple[str, ...]:
    """The precisions to compare: on a CPU single precision against itself, which must not differ."""
    if device == "cpu":
        return ("float32",)
    return ("float32", "tf32", *(("authors", HALF_POSITIONS) if asks_for_half else ()))


def run_case(model: str, report: Report, case: str, reference: dict[str, Any]) -> dict[str, Any]:
    asked, more = ("authors", {"positions": "as-upstream"}) if case == HALF_POSITIONS else (case, {})
    device = report.options.device
    adapter, samples = open_network(model, report.options, device=device, precision=asked, more=more)
    outputs = head_arrays(adapter, samples[0])
    return {"in_force": adapter.precision(), "outputs": compare_arrays(reference, outputs)}


if __name__ == "__main__":
    sys.exit(run_stage("stage_3_outputs", work))
