"""Machines that reach each other, as one cluster: Ray started and ended on them over ssh, by process id.

Every process of a cluster carries its id in the environment, so that what is left of one is found on any machine.
Imports core, health, sources and process cleanup. Begin with `lifecycle.py`; `agent.py` is what runs on each machine.
"""
