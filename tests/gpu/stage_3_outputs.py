"""Each network with random weights: the heads' outputs on the device against the CPU's, in every precision.

`float32` and `tf32` for all; `authors` for the networks whose configuration asks for half precision, and
`authors_half_positions`, the same without the adapter's correction that keeps positions single.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from networks import HALF_POSITIONS, asks_for_half, compare_arrays, head_arrays, in_precision, open_network, run_each
from reporting import Report, explain, run_stage


def work(report: Report) -> None:
    run_each(report, __file__, compare_network)


def compare_network(model: str, report: Report) -> Iterator[tuple[str, Any]]:
    """(precision, what is in force and how far each output is from the CPU's)."""
    options = report.options
    adapter, samples = open_network(model, options, device="cpu", precision="float32")
    reference = head_arrays(adapter, samples[0])
    yield "largest", {name: float(abs(array).max()) for name, array in reference.items() if array.size}
    cases = list_cases(options.device, asks_for_half(adapter))
    adapter, samples = open_network(model, options, device=options.device, precision="float32")
    for case in cases:
        try:
            own = in_precision(case, adapter, model, options)
            own.start_scene(samples[0]["scene"])
            outputs = compare_arrays(reference, head_arrays(own, samples[0]))
            yield case, {"in_force": own.precision(), "outputs": outputs}
        except Exception as error:  # noqa: BLE001  one precision that fails leaves the others to be measured
            yield case, {"failed": explain(error)}


def list_cases(device: str, half: bool) -> tuple[str, ...]:
    """The precisions to compare: on a CPU single precision against itself, which must not differ."""
    if device == "cpu":
        return ("float32",)
    return ("float32", "tf32", *(("authors", HALF_POSITIONS) if half else ()))


if __name__ == "__main__":
    sys.exit(run_stage("stage_3_outputs", work))
