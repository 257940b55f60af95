"""Writes a small ONNX file with the inputs and outputs of CalibrationStatus's network; runs in tools/onnx.

Usage: small_classifier.py FILE [BIAS] [INPUT]. The logits are the bias plus a little of the mean depth, so that what
comes out depends on what goes in.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main() -> None:
    file, bias = sys.argv[1], float((sys.argv[2:] or ["0.5"])[0])
    name = (sys.argv[3:] or ["channels"])[0]
    weights = np.zeros((5, 2), np.float32)
    weights[3] = (-0.01, 0.01)
    nodes = [
        helper.make_node("GlobalAveragePool", [name], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 5, 64, 112])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([0, bias], np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


if __name__ == "__main__":
    main()
