"""flash-attn in plain PyTorch, for sources that import it without asking and environments that do not have it.

The functions of flash-attn 0.2 that StreamPETR and TopoMLP import, with its arguments and shapes. They compute the same
attention, with torch's own kernel where torch has one and by its definition where not (before torch 2), and run on any
device and with any float type. Sequences are packed: sequence i of a batch is the rows from `cu_seqlens[i]` to
`cu_seqlens[i + 1]`.
"""

import importlib.util
import math
import sys
import types
from typing import Any, Dict, List, Optional, Tuple

from ..common.libraries import load_library

PACKAGE = "flash_attn"


def install() -> bool:
    """Offer these functions as the package `flash_attn`, unless there is one. Says whether it was needed."""
    if PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None:
        return False
    parts = {
        "flash_attn_interface": (flash_attn_unpadded_kvpacked_func,),
        "bert_padding": (unpad_input, pad_input, index_first_axis),
    }
    package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
    package.__path__ = []  # so that Python takes it for a package
    for name, functions in parts.items():
        module = types.ModuleType("{}.{}".format(PACKAGE, name))
        vars(module).update({function.__name__: function for function in functions})
        sys.modules[module.__name__] = module
        setattr(package, name, module)
    return True


def flash_attn_unpadded_kvpacked_func(
    q: Any,
    kv: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """Attention of packed queries to packed keys and values.

    Args:
        q: (queries of all sequences, heads, channels).
        kv: keys and values, (keys of all sequences, 2, heads, channels).
        cu_seqlens_q: where each sequence's queries begin, and the last one's end, (batch + 1,), integers.
        cu_seqlens_k: the same for keys.
        max_seqlen_q: the length of the longest sequence of queries.
        max_seqlen_k: the length of the longest sequence of keys.
        dropout_p: the share of attention weights that are dropped: 0 for inference.
        softmax_scale: the factor of the scores; 1 / √channels if None.
        causal: query i attends to the keys up to i only.
        return_attn_probs: not offered here.

    Returns:
        (queries of all sequences, heads, channels).

    Raises:
        NotImplementedError: `return_attn_probs`.
    """
    if return_attn_probs:
        raise NotImplementedError("flash-attn's attention probabilities: only its own kernels return them")
    batch = len(cu_seqlens_q) - 1
    keys, values = kv.unbind(1)
    scale = 1.0 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale
    options: Dict[str, Any] = {"dropout": dropout_p, "scale": scale, "causal": causal}
    if len(q) == batch * max_seqlen_q and len(kv) == batch * max_seqlen_k:  # none is shorter: all at once
        packed = [part.reshape(batch, -1, *part.shape[1:]) for part in (q, keys, values)]
        return _attend(*packed, **options).reshape(q.shape)
    spans = zip(_spans(cu_seqlens_q), _spans(cu_seqlens_k))
    pieces = [_attend(*(part[None] for part in (q[i], keys[j], values[j])), **options)[0] for i, j in spans]
    return load_library("torch").cat(pieces)


def unpad_input(hidden_states: Any, attention_mask: Any) -> Tuple[Any, Any, Any, int]:
    """Pack the rows that a mask keeps.

    Args:
        hidden_states: (batch, length, …).
        attention_mask: (batch, length), true where a row counts.

    Returns:
        The rows that count (n, …), their places among all batch · length rows (n,), where each sequence begins among
        them (batch + 1,), and the longest sequence's length.
    """
    torch = load_library("torch")
    lengths = attention_mask.sum(dim=-1, dtype=torch.int32)
    indices = torch.nonzero(attention_mask.flatten(), as_tuple=False).flatten()
    ends = torch.cumsum(lengths, dim=0, dtype=torch.int32)
    starts = torch.cat([ends.new_zeros(1), ends])
    return index_first_axis(hidden_states.flatten(0, 1), indices), indices, starts, int(lengths.max())


def pad_input(hidden_states: Any, indices: Any, batch: int, seqlen: int) -> Any:
    """Return what `unpad_input` packed, in its places again, (batch, seqlen, …); the other rows are zero."""
    padded = hidden_states.new_zeros((batch * seqlen, *hidden_states.shape[1:]))
    padded[indices] = hidden_states
    return padded.reshape(batch, seqlen, *hidden_states.shape[1:])


def index_first_axis(rows: Any, indices: Any) -> Any:
    """The rows (n, …) of `rows` at `indices` (n,)."""
    return rows[indices]


def _attend(q: Any, keys: Any, values: Any, *, dropout: float, scale: float, causal: bool) -> Any:
    """Scaled dot product attention of (batch, length, heads, channels)."""
    functional = load_library("torch.nn.functional")
    q, keys, values = (part.transpose(1, 2) for part in (q, keys, values))
    if hasattr(functional, "scaled_dot_product_attention"):
        result = functional.scaled_dot_product_attention(
            q, keys, values, dropout_p=dropout, is_causal=causal, scale=scale
        )
        return result.transpose(1, 2)
    scores = (q * scale) @ keys.transpose(-2, -1)
    if causal:
        later = scores.new_ones(scores.shape[-2:]).triu(1).bool()
        scores = scores.masked_fill(later, -math.inf)
    weights = functional.dropout(scores.softmax(-1), dropout)
    return (weights @ values).transpose(1, 2)


def _spans(starts: Any) -> List[slice]:
    """The rows of each sequence."""
    listed = starts.tolist()
    return [slice(begin, end) for begin, end in zip(listed, listed[1:])]
