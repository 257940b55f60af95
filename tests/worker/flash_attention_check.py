# ruff: noqa: B905, UP006, UP035  the classic environment has Python 3.8
"""Run by a model's environment: the stand-in for flash-attn against softmax attention, one query and head at a time.

Prints {name of the case: largest difference} as JSON.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any, List

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.mmlab.common.libraries import load_library
from worker.mmlab.v1 import flash_attention

torch = load_library("torch")
HEADS, CHANNELS = 3, 8


def main() -> None:
    assert flash_attention.install(), "this environment has flash-attn itself"
    attend = load_library("flash_attn.flash_attn_interface").flash_attn_unpadded_kvpacked_func
    torch.manual_seed(0)
    found = {}
    for name, queries, keys, options in (
        ("one sequence", [5], [7], {}),
        ("equal lengths", [4, 4, 4], [6, 6, 6], {}),
        ("other lengths", [2, 5, 1], [7, 3, 4], {}),
        ("a stated scale", [2, 5], [7, 3], {"softmax_scale": 0.7}),
        ("causal", [5, 5], [5, 5], {"causal": True}),
        ("causal, other lengths", [2, 5], [4, 5], {"causal": True}),
    ):
        q, kv = torch.randn(sum(queries), HEADS, CHANNELS), torch.randn(sum(keys), 2, HEADS, CHANNELS)
        result = attend(q, kv, starts(queries), starts(keys), max(queries), max(keys), 0.0, **options)
        found[name] = largest(result, plain(q, kv, queries, keys, **options))
    found["key padding"] = padded(attend)
    print(json.dumps(found))


def padded(attend: Any) -> float:
    """Sequences whose keys count only where a mask says so, through `unpad_input`, as the sources do it."""
    padding = load_library("flash_attn.bert_padding")
    mask = torch.tensor([[True, False, True, True], [False, True, False, True]])
    hidden = torch.randn(2, 4, 2 * HEADS * CHANNELS)
    rows, indices, cu_seqlens, longest = padding.unpad_input(hidden, mask)
    assert (cu_seqlens.tolist(), cu_seqlens.dtype, longest) == ([0, 3, 5], torch.int32, 3)
    assert torch.equal(rows, hidden[mask])
    assert torch.equal(padding.pad_input(rows, indices, 2, 4), hidden * mask[..., None])
    q, kv = torch.randn(6, HEADS, CHANNELS), rows.reshape(5, 2, HEADS, CHANNELS)
    result = attend(q, kv, starts([3, 3]), cu_seqlens, 3, longest, 0.0)
    return largest(result, plain(q, kv, [3, 3], [3, 2]))


def plain(
    q: Any, kv: Any, queries: List[int], keys: List[int], softmax_scale: float = CHANNELS**-0.5, causal: bool = False
) -> Any:
    """By the definition, in 64 bits: for each query and head, the values weighted by the softmax of the scores."""
    result = torch.zeros(q.shape, dtype=torch.float64)
    q_begin = k_begin = 0
    for q_length, k_length in zip(queries, keys):
        for query in range(q_length):
            seen = min(query + 1, k_length) if causal else k_length
            for head in range(HEADS):
                scores = [
                    softmax_scale * float(q[q_begin + query, head].double() @ kv[k_begin + key, 0, head].double())
                    for key in range(seen)
                ]
                shares = [math.exp(score) for score in scores]
                for key, share in enumerate(shares):
                    result[q_begin + query, head] += share / sum(shares) * kv[k_begin + key, 1, head].double()
        q_begin, k_begin = q_begin + q_length, k_begin + k_length
    return result


def starts(lengths: List[int]) -> Any:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def largest(a: Any, b: Any) -> float:
    return float((a.double() - b).abs().max())


if __name__ == "__main__":
    main()
