"""Orders of scores, against NumPy's stable sorts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from admlops.evaluation.statistics.ordering import order_descending, order_ties

FEW = (-np.inf, -1.0, -0.0, 0.0, 0.25, 0.5, 1.0, np.inf)
"""Few values, so that many are equal, both zeros among them."""


def scores(dtype: type[np.floating[Any]]) -> st.SearchStrategy[NDArray[np.floating[Any]]]:
    return st.one_of(
        hnp.arrays(dtype, st.integers(0, 200), elements=st.sampled_from(FEW)),
        hnp.arrays(dtype, st.integers(0, 200), elements=st.floats(width=32, allow_nan=False)),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
@settings(max_examples=100)
def test_order_is_that_of_a_stable_sort(dtype: type[np.floating[Any]], data: st.DataObject) -> None:
    drawn = data.draw(scores(dtype))
    assert order_descending(drawn).tolist() == np.argsort(-drawn, kind="stable").tolist()


@given(drawn=scores(np.float32), seed=st.integers(0, 1000))
@settings(max_examples=100)
def test_ties_are_ordered_as_by_a_second_key(drawn: NDArray[np.float32], seed: int) -> None:
    positive = np.random.default_rng(seed).random(len(drawn)) < 0.4
    order = order_descending(drawn)
    tied = order_ties(drawn[order], positive[order])
    expected = [positive[np.lexsort((key, -drawn))] for key in (positive, ~positive)]
    if tied is None:
        assert len(np.unique(drawn)) == len(drawn)
        tied = positive[order], positive[order]
    assert [hits.tolist() for hits in tied] == [hits.tolist() for hits in expected]
