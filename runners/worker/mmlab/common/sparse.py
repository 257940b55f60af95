"""Sparse convolutions in PyTorch, for what mmcv computes on a GPU alone.

`install` puts them under mmcv's own layers. A tensor on a GPU still goes to mmcv's compiled operation.

A convolution is a list of pairs for every offset of the kernel: which input row adds to which output row. mmcv keeps
them as a tensor (offsets, 2, rows), filled up with -1, and a count an offset; so do these.
"""

import itertools
from typing import Any, Sequence, Tuple

from .libraries import load_library

NOTHING = -1
"""What fills the list of pairs up."""


def install() -> None:
    """Let mmcv's sparse layers run on a CPU too."""
    operations = load_library("mmcv.ops.sparse_ops")
    if getattr(operations.get_indice_pairs, "stands_in", False):
        return
    compiled_pairs, compiled_convolution = operations.get_indice_pairs, operations.indice_conv

    def pairs(indices: Any, batch_size: int, shape: Any, *settings: Any, **more: Any) -> Any:
        find = compiled_pairs if indices.is_cuda else find_pairs
        return find(indices, batch_size, shape, *settings, **more)

    def convolve(features: Any, *settings: Any) -> Any:
        apply = compiled_convolution if features.is_cuda else apply_pairs
        return apply(features, *settings)

    pairs.stands_in = True  # type: ignore[attr-defined]
    operations.get_indice_pairs, operations.indice_conv = pairs, convolve


def find_pairs(
    indices: Any,
    batch_size: int,
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out_padding: Sequence[int],
    submanifold: bool = False,
    transposed: bool = False,
    grid: Any = None,
) -> Tuple[Any, Any, Any]:
    """The output cells of a sparse convolution, and the pairs that lead to them.

    Args:
        indices: the occupied cells (n, 1 + dimensions): the frame in the batch, then the cell.
        batch_size: how many frames there are.
        shape: the cells of the grid in each dimension.
        kernel: its size in each dimension, as stride, padding and dilation are; `out_padding` is of transposed ones.
        submanifold: the output's cells are the input's, whatever stride and padding say.
        transposed: not computed here.
        grid: a table that only the compiled operation uses.

    Returns:
        The output's cells (m, 1 + dimensions), the pairs (offsets, 2, n) and how many pairs each offset has.

    Raises:
        NotImplementedError: a transposed convolution.
    """
    if transposed:
        raise NotImplementedError("a transposed sparse convolution needs mmcv's compiled operation, and so a GPU")
    torch = load_library("torch")
    cells = indices.long()
    steps = [1] * len(kernel) if submanifold else list(stride)
    pads = [size // 2 * spread for size, spread in zip(kernel, dilation)] if submanifold else list(padding)
    places = list(zip(shape, kernel, steps, pads, dilation))
    outer = [(side + 2 * pad - spread * (size - 1) - 1) // step + 1 for side, size, step, pad, spread in places]
    outer = list(shape) if submanifold else outer
    step, sides = cells.new_tensor(steps), cells.new_tensor(outer)
    found = []  # type: list[tuple[Any, Any]]
    for offset in itertools.product(*[range(size) for size in kernel]):
        shift = [pad - number * spread for number, pad, spread in zip(offset, pads, dilation)]
        moved = cells[:, 1:] + cells.new_tensor(shift)
        reached = torch.div(moved, step, rounding_mode="floor")
        inside = (moved >= 0) & (reached * step == moved) & (reached < sides)
        rows = torch.nonzero(inside.all(dim=1)).flatten()
        found.append((rows, _number(torch.cat([cells[rows, :1], reached[rows]], dim=1), outer)))
    if submanifold:
        numbers, order = torch.sort(_number(cells, outer))
        out_cells = indices
    else:
        numbers = torch.unique(torch.cat([number for _, number in found]))
        out_cells = _cells(numbers, outer).to(indices.dtype)
        order = torch.arange(len(numbers), device=cells.device)
    pairs = indices.new_full((len(found), 2, len(cells)), NOTHING)
    counts = indices.new_zeros(len(found))
    for index, (rows, reached) in enumerate(found):
        if not len(numbers):
            break
        place = torch.searchsorted(numbers, reached).clamp(max=len(numbers) - 1)
        there = numbers[place] == reached
        count = int(there.sum())
        pairs[index, 0, :count] = rows[there].to(pairs.dtype)
        pairs[index, 1, :count] = order[place[there]].to(pairs.dtype)
        counts[index] = count
    return out_cells, pairs, counts


def apply_pairs(
    features: Any, weight: Any, pairs: Any, counts: Any, rows: int, inverse: bool = False, submanifold: bool = False
) -> Any:
    """The output's features (rows, out): for every offset, the inputs of its pairs times its weights, added up.

    Args:
        features: the input's (n, in).
        weight: of the kernel's dimensions, then (in, out).
        pairs: as `find_pairs` gives them, with `counts`.
        rows: how many the output has.
        inverse: go from the outputs of the pairs to their inputs.
        submanifold: needs nothing of its own here.
    """
    source, target = (1, 0) if inverse else (0, 1)
    weights = weight.reshape(-1, *weight.shape[-2:])
    summed = features.new_zeros((int(rows), weights.shape[-1]))
    for index, count in enumerate(counts.tolist()):
        if count:
            given = features[pairs[index, source, :count].long()]
            summed.index_add_(0, pairs[index, target, :count].long(), given @ weights[index])
    return summed


def _number(cells: Any, shape: Sequence[int]) -> Any:
    """One number a cell (n, 1 + dimensions): frame, then the dimensions from the first to the last."""
    number = cells[:, 0]
    for dimension, side in enumerate(shape):
        number = number * side + cells[:, 1 + dimension]
    return number


def _cells(numbers: Any, shape: Sequence[int]) -> Any:
    """The cells (n, 1 + dimensions) of numbers."""
    torch = load_library("torch")
    columns = []
    for side in reversed(shape):
        columns.append(numbers % side)
        numbers = torch.div(numbers, side, rounding_mode="floor")
    return torch.stack([numbers, *reversed(columns)], dim=1)
