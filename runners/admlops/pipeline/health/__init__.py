"""The checks of `admlops health` and of the service's probes: each a small module, registered in `check.py`.

A check looks at one side of the machine or the installation and yields findings; it changes nothing. It may
import what pipeline may, and nothing else of pipeline. Begin with `check.py`, then `report.py`.
"""
