"""Filling the network: with a checkpoint of `train.py`, or with weights that are drawn from a seed."""

from typing import Any

import torch

from calibration.resnet import CalibrationNet, width_of
from worker.adapter import Settings
from worker.mmlab.common.weights import parse_random


class WeightsError(ValueError):
    """The weights are missing, or not this network's."""


def load_network(settings: Settings) -> Any:
    """Return the network on its device, in eval mode.

    Raises:
        WeightsError: there are no weights, or they do not fit.
    """
    weights = str(settings.options.get("weights") or "")
    if weights:
        torch.manual_seed(parse_random(weights))
        network = CalibrationNet(width_of(settings.config))
    elif settings.checkpoint:
        state = torch.load(settings.checkpoint, map_location="cpu", weights_only=True)
        try:
            network = CalibrationNet.filled(state["state_dict"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{settings.checkpoint} does not fit CalibrationStatus: {error}") from error
    else:
        raise WeightsError("CalibrationStatus needs weights: --checkpoint FILE, or --weights random:SEED")
    return network.to(settings.device).eval()
