"""Run by a model's environment: exports a network with an operator that ONNX lacks, and prints what is said of it.

python foreign_operator.py FOLDER_OF_THE_EXPORTER'S_PACKAGES FILE
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))
sys.path.append(sys.argv[1])

from worker.export import export
from worker.network import Network, NetworkError, TensorSpec


class Inverting(Network):
    """A matrix → its inverse, by a layer within a layer."""

    def inputs(self) -> Any:
        return (TensorSpec("matrix", "float32", (4, 4)),)

    def outputs(self) -> Any:
        return (TensorSpec("inverse", "float32", (4, 4)),)

    def build(self) -> Any:
        torch: Any = import_module("torch")

        class Inverse(torch.nn.Module):  # type: ignore[misc]
            def forward(self, matrix: Any) -> Any:
                return matrix.inverse()

        class Module(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.head = torch.nn.Sequential(torch.nn.Linear(4, 4), Inverse())

            def forward(self, matrix: Any) -> Any:
                return (self.head(matrix),)

        return Module()


def main() -> None:
    network = Inverting(SimpleNamespace(name="Inverting"))
    try:
        export(network, network.example({}), file=sys.argv[2], opset=17)
    except NetworkError as error:
        sys.stdout.write(error.text)


if __name__ == "__main__":
    main()
