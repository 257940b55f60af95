"""Weights of sparse convolutions in the layout that mmcv's layers have, whichever library wrote them."""

from typing import Any, List, Mapping, MutableMapping

SPARSE_DIMENSIONS = 5
NOTE = "sparse-weights-turned"


def turn_sparse_weights(state: MutableMapping[str, Any], own: Mapping[str, Any]) -> List[str]:
    """Turn the weights of three-dimensional sparse convolutions in `state` where `own` has them the other way round.

    spconv 2 keeps (out, kx, ky, kz, in) and mmcv (kx, ky, kz, in, out); the shapes tell which is which. Returns a note
    if any was turned.
    """
    turned = False
    for key, wanted in own.items():
        given = state.get(key)
        if given is None or len(given.shape) != SPARSE_DIMENSIONS or tuple(given.shape) == tuple(wanted.shape):
            continue
        for order in ((1, 2, 3, 4, 0), (4, 0, 1, 2, 3)):
            if tuple(given.shape[axis] for axis in order) == tuple(wanted.shape):
                state[key] = given.permute(*order).contiguous()
                turned = True
                break
    return [NOTE] if turned else []
