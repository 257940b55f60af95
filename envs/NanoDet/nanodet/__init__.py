"""NanoDet-g: its published graph as an ONNX model, pictures as its input, and boxes of its output."""
