"""Taking channels out of a trained network, by torch-pruning (MIT), which the model's environment must have.

Source: G. Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023, arXiv:2301.12900. Layers whose channels
depend on each other, through additions and concatenations, lose the same ones. Which go says the L2 norm of all
weights of a channel (H. Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, arXiv:1608.08710).
"""

import importlib
from typing import Any, Dict, List, Sequence


def prune_channels(network: Any, example: Any, share: float, *, keep: Sequence[Any]) -> Dict[str, int]:
    """Take `share` of the channels out of every layer, in place; fewer multiplications, not zeros.

    Args:
        network: a module. It is left in the mode, train or eval, in which it was.
        example: an input that the network's graph is traced with.
        share: of each layer's output channels, above 0 and below 1; one channel stays in any case.
        keep: modules whose outputs keep their number: classes, distributions.

    Returns:
        Output channels left, by the layer's name.
    """
    pruning = importlib.import_module("torch_pruning")
    was_training = network.training
    network.eval()
    pruner = pruning.pruner.BasePruner(
        network,
        example,
        importance=pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        ignored_layers=list(keep),
    )
    pruner.step()
    network.train(was_training)
    return channels_of(network)


def channels_of(network: Any) -> Dict[str, int]:
    """Output channels by the name of each layer with a kernel."""
    layers: List[Any] = [(name, getattr(one, "weight", None)) for name, one in network.named_modules()]
    return {name: int(weight.shape[0]) for name, weight in layers if weight is not None and weight.dim() > 1}


def count(network: Any, example: Any) -> Dict[str, int]:
    """Parameters, and multiply-accumulates of one call on `example`, by torch-pruning's counters."""
    utils = importlib.import_module("torch_pruning").utils
    was_training = network.training
    operations, parameters = utils.count_ops_and_params(network.eval(), example)
    network.train(was_training)
    return {"parameters": int(parameters), "multiply_accumulates": int(operations)}
