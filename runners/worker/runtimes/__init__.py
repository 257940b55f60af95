"""Runtimes: what executes a network (torch, ONNX Runtime, TensorRT), each in a module of its own.

A module names its class `RUNTIME`, a subclass of `worker.runtimes.base.Runtime`. The host sends the module's path.

They import nothing but the standard library when they are loaded. Begin with `base.py`.
"""
