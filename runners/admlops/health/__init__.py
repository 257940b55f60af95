"""Health: what this machine is, which devices it has, and how it fares while a run goes on.

It may import core. Begin with `machine.py` for NVML and telemetry, and `devices.py` for choosing devices.
"""
