"""What of PETRv2 leaves PyTorch: the whole detector, with the rig and the time between its pictures as inputs."""

from worker.mmlab.v1.petr_network import PetrNetwork

NETWORKS = {"default": PetrNetwork}
