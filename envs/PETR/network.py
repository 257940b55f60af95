"""What of PETR leaves PyTorch: the whole detector, with the rig as an input."""

from worker.mmlab.v1.petr_network import PetrNetwork

NETWORKS = {"default": PetrNetwork}
