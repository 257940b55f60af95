"""Half precision in MapTR, emulated on a CPU: what it does in the features, in the positions, and in the adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.models.both_ways import find_environment
from tests.models.fidelity import run_precision
from tests.models.fidelity_cases import CASES
from tests.models.fidelity_precision import CASES as PRECISIONS
from tests.models.fidelity_precision import describe_precision


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_positions_explain_what_half_precision_does_to_maptr(tmp_path: Path) -> None:
    environment = find_environment("MapTR", "modern")
    (found,) = run_precision(CASES["MapTR"], environment, tmp_path, scenes=1)
    assert found["single"]["bev_embed"] == found["single"]["moved"] == 0
    for name in ("features", "adapter"):
        assert found[name]["moved"] == found[name]["seen_by_one"] == 0, "no position changes its pixel"
        assert 0 < found[name]["bev_embed"] < 0.05
    for name in ("positions", "both", "upstream"):
        assert found[name]["moved"] > 100
        assert found[name]["bev_embed"] > 10 * found["features"]["bev_embed"]
    page = "\n".join(
        describe_precision({"MapTR": {"precision": {"modern": {"samples": [found], "machine": "m", "date": "d"}}}})
    )
    assert "Positions explain the difference and features do not" in page


def test_the_page_says_the_opposite_where_the_numbers_do() -> None:
    def case(bev: float) -> dict[str, float]:
        values = {"bev_embed": bev, "points": 0.01, "logits": 0.01}
        return {**values, **{f"{name}_largest": 4.5 for name in values}, "moved": 0, "positions": 85_868}

    cases = {name: case(0.9 if name == "features" else 0.09) for name in PRECISIONS}
    entry = {"samples": [cases], "machine": "one", "date": "2026-01-02"}
    page = "\n".join(describe_precision({"MapTR": {"precision": {"modern": entry}}}))
    assert "Positions do not explain the difference: half precision in features alone moves" in page
    assert "10 to 10 times as far as half precision in positions alone" in page
    assert "(one, 2026-01-02)" in page
    assert "Where half precision reaches" not in "\n".join(describe_precision({}))
