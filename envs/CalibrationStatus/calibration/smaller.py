"""What a training begins with: a network of a configuration's width, of a file's shapes, or with channels taken out."""

from typing import Any, Dict

import torch

from calibration.channels import CHANNELS, HEIGHT, WIDTH
from calibration.resnet import CalibrationNet, width_of
from worker.training.pruning import channels_of, prune_channels
from worker.training.session import Session
from worker.training.torch_state import load


def begin_with(session: Session) -> CalibrationNet:
    """Return the network on the CPU: as a resume left it, as its first weights are, or drawn from the seed.

    The seed is PyTorch's, set before. Channels are taken out of the first weights once, never of a resume's.
    """
    if session.resume is not None:
        return CalibrationNet.filled(load(session.resume.weights)["state_dict"])
    if not session.start.get("weights"):
        return CalibrationNet(width_of(session.config))
    network = CalibrationNet.filled(load(session.start["weights"])["state_dict"])
    if session.prune is not None:
        prune_channels(network, example("cpu"), session.prune, keep=[network.resnet.fc])
    return network


def describe(network: CalibrationNet, session: Session) -> Dict[str, Any]:
    """The configuration of the network as it is trained; weights are registered with it."""
    stated = {} if session.start.get("weights") else {"width": width_of(session.config)}
    pruned = {} if session.prune is None else {"pruned": session.prune}
    return {**stated, **pruned, "channels": channels_of(network)}


def example(device: str) -> Any:
    """One input of the network, of zeros."""
    return torch.zeros(1, CHANNELS, HEIGHT, WIDTH, device=device)
