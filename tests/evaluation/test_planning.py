"""Planning and motion against the plain formulas and the originals, and what odd samples do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.generated_plans import generate_plans
from tests.evaluation.official_plans import official_plans
from tests.evaluation.plain_planning import fill, plain_motion, plain_planning
from tests.evaluation.upstream import checkout_or_skip

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.evaluation.motion.scores import evaluate_motion
from admlops.evaluation.planning.protocols import PROTOCOLS, STP3, UNIAD
from admlops.evaluation.planning.rasterization import CELLS, fills
from admlops.evaluation.planning.scores import evaluate_planning
from admlops.evaluation.trajectories.arrays import MotionPrediction, MotionTruth, PlanTruth, Traffic

AHEAD = np.stack([np.zeros(6), np.arange(1, 7) * 2.0], axis=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_to_the_plain_formula(protocol: str) -> None:
    plans = [sample.for_planning() for sample in generate_plans(60, seed=1)]
    result = evaluate_planning(plans, protocol=protocol)
    expected = plain_planning(plans, uniad=protocol == UNIAD)
    assert dict(result.values) == pytest.approx(expected, abs=1e-6)
    assert expected["obj_box_col_3s"] > 0
    assert result.samples == (60 if protocol == UNIAD else sum(truth.is_whole for _, truth in plans))
    assert {metric.protocol for metric in result.metrics("d")} == {protocol}


def test_motion_is_equal_to_the_plain_formula() -> None:
    samples = generate_plans(40, seed=2)
    result = evaluate_motion(sample.for_motion() for sample in samples)
    assert dict(result.values) == pytest.approx(plain_motion(samples), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(20, 180), st.integers(20, 180)),
    st.floats(0, 7),
    st.floats(0.0, 18.0),
    st.floats(0.0, 5.0),
)
def test_a_rectangle_fills_the_cells_of_its_outline_and_between(
    centre: tuple[int, int], yaw: float, length: float, width: float
) -> None:
    """Turned rectangles with rounded corners, down to a line and a point, row by row."""
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    box = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (length / 2, width / 2)
    corners = np.round(box @ turn.T + centre).astype(np.int64)
    rows = np.arange(corners[:, 1].min() - 1, corners[:, 1].max() + 2)[np.newaxis]
    columns = np.arange(corners[:, 0].min() - 1, corners[:, 0].max() + 2)
    asked = [fills(corners[np.newaxis], rows, column.reshape(1, 1), column.reshape(1, 1))[0] for column in columns]
    ours = {(int(row), int(column)) for column, hit in zip(columns, asked, strict=True) for row in rows[0][hit]}
    assert ours == fill([(int(x), int(y)) for x, y in corners])
    for first, last in ((0, columns[0]), (columns[-1], CELLS - 1)):
        assert not fills(corners[np.newaxis], rows, np.array([[first]]), np.array([[last]])).any()


def filled(corners: Any) -> Any:
    """Every cell of the grid, (K, rows, columns), asked one by one."""
    rows = np.tile(np.arange(CELLS), (len(corners), 1))
    columns = [fills(corners, rows, np.array([[column]]), np.array([[column]])) for column in range(CELLS)]
    return np.stack(columns, axis=2)


def rectangles(count: int, *, seed: int, width: float) -> Any:
    """Turned rectangles with rounded corners, one in five beyond the border of the grid."""
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(0, 2 * np.pi, count)
    turn = np.stack([np.cos(yaw), -np.sin(yaw), np.sin(yaw), np.cos(yaw)], axis=1).reshape(-1, 2, 2)
    half = np.stack([rng.uniform(1, 26, count), rng.uniform(0.3, width, count)], axis=1)[:, np.newaxis] / 2
    box = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
    moved = np.einsum("kij,kcj->kci", turn, box) + rng.uniform(-15, CELLS + 15, (count, 1, 2))
    return np.round(moved).astype(np.int64)


def traffic(*places: tuple[float, float], vehicle: bool = True, size: tuple[float, float] = (4.0, 2.0)) -> Traffic:
    count = len(places)
    positions = np.repeat(np.array(places).reshape(count, 1, 2), 6, axis=1)
    return Traffic(
        positions=positions,
        yaws=np.full((count, 6), np.pi / 2),
        sizes_lw=np.repeat([size], count, axis=0).reshape(count, 2),
        present=np.ones((count, 6), bool),
        vehicle=np.full(count, vehicle),
        person=np.full(count, not vehicle),
    )


def truth(path: Any, others: Traffic, known: int = 6) -> PlanTruth:
    return PlanTruth(path=path, known=np.arange(6) < known, traffic=others)


def test_by_hand() -> None:
    """Driven: straight ahead, 2 m a step. Planned: 1 m to the right. A car stands 9 m ahead on the right, alone."""
    beside = AHEAD + np.array([1.0, 0.0])
    one = truth(AHEAD, traffic((2.6, 9.0)))
    averaged = evaluate_planning([(beside, one)], protocol=STP3).values
    at_step = evaluate_planning([(beside, one)], protocol=UNIAD).values
    for values in (averaged, at_step):
        assert [values[f"L2_{s}s"] for s in (1, 2, 3)] == pytest.approx([1.0, 1.0, 1.0])
    # The box reaches from 1.5 m behind its position to 2.5 m ahead, the car from 7 to 11 m: steps 6, 8, 10, 12 m.
    assert [averaged[f"obj_box_col_{s}s"] for s in (1, 2, 3)] == pytest.approx([0.0, 0.5, 4 / 6])
    assert [at_step[f"obj_box_col_{s}s"] for s in (1, 2, 3)] == pytest.approx([0.0, 1.0, 1.0])


def test_who_is_in_the_way_depends_on_the_protocol() -> None:
    # The person fills the cells from 7.5 to 8.5 m, the box reaches them from 6, 8 and 10 m.
    person = truth(AHEAD + np.array([30.0, 0.0]), traffic((0.0, 8.0), vehicle=False, size=(0.7, 0.7)))
    assert evaluate_planning([(AHEAD, person)], protocol=STP3).values["obj_box_col_3s"] == pytest.approx(3 / 6)
    assert evaluate_planning([(AHEAD, person)], protocol=UNIAD).values["obj_box_col_2s"] == 0.0


def test_a_step_at_which_the_driven_path_collides_counts_as_free() -> None:
    blocked = truth(AHEAD, traffic((0.0, 8.0)))
    assert evaluate_planning([(AHEAD, blocked)], protocol=STP3).values["obj_box_col_3s"] == 0.0


def test_beyond_the_grid_the_border_is_tested() -> None:
    corner = truth(AHEAD, traffic((49.0, 49.0)))
    away = np.full((6, 2), 300.0)
    assert evaluate_planning([(away, corner)], protocol=STP3).values["obj_box_col_1s"] == 1.0


def test_samples_without_a_whole_future() -> None:
    short = truth(AHEAD, traffic(), known=2)
    assert evaluate_planning([(AHEAD, short)], protocol=STP3).values == dict.fromkeys(
        evaluate_planning([], protocol=STP3).values
    )
    beside = evaluate_planning([(AHEAD + np.array([1.0, 0.0]), short)], protocol=UNIAD)
    assert [beside.values[f"L2_{s}s"] for s in (1, 2, 3)] == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"a path is not \(6, 2\)"):
        evaluate_planning([(AHEAD[:3], truth(AHEAD, traffic()))])
    with pytest.raises(ValueError, match=r"stp3\.planning, uniad\.planning"):
        evaluate_planning([], protocol="stp3")


def motion(
    truths: list[tuple[float, float]], found: list[tuple[float, float]], *, known: int = 6, aside: float = 0.0
) -> dict[str, float | None]:
    steps = np.zeros((len(truths), 6, 2))
    modes = np.zeros((len(found), 2, 6, 2))
    modes[:, :, -1, 0] = (aside, aside + 5)
    there = MotionTruth(
        centers=np.array(truths).reshape(-1, 2),
        labels=np.zeros(len(truths), int),
        steps=steps,
        known=np.repeat([np.arange(6) < known], len(truths), axis=0).reshape(-1, 6),
    )
    guess = MotionPrediction(
        centers=np.array(found).reshape(-1, 2),
        labels=np.zeros(len(found), int),
        scores=np.full(len(found), 0.7),
        steps=modes,
    )
    return dict(evaluate_motion([(there, guess)]).values)


def test_motion_by_hand() -> None:
    """One car found twice, 0 and 1 m off; its best mode ends 1.2 m aside; another car is not found."""
    values = motion([(0, 0), (20, 0)], [(0, 0), (1, 0)], aside=1.2)
    assert values["minADE_car"] == pytest.approx(1.2 / 6)
    assert values["minFDE_car"] == pytest.approx(1.2)
    assert values["MR_car"] == 0.0
    assert values["EPA_car"] == pytest.approx((1 - 0.5) / 2)
    assert motion([(0, 0)], [(0, 0)], aside=2.5)["MR_car"] == 1.0
    assert values["EPA_pedestrian"] is None


def test_motion_of_nothing() -> None:
    assert set(motion([], []).values()) == {None}
    assert motion([(0, 0)], [])["EPA_car"] == 0.0
    assert motion([], [(0, 0)])["EPA_car"] is None
    short = motion([(0, 0)], [(0, 0)], known=3, aside=9.0)
    assert (short["minADE_car"], short["minFDE_car"], short["EPA_car"]) == (0.0, None, None)


@pytest.mark.full
@pytest.mark.parametrize(("seed", "width"), [(0, 6.0), (1, 1.5)])
def test_fills_the_cells_that_opencv_fills(seed: int, width: float, tmp_path: Path) -> None:
    try:
        environment = ensure_official(find_layout(), "vad", say=print)
    except EnvError as error:
        pytest.skip(f"VAD's metrics cannot be installed: {error}")
    corners = rectangles(1500, seed=seed, width=width)
    given, result = tmp_path / "corners.npy", tmp_path / "filled.npy"
    np.save(given, corners)
    program = Path(__file__).with_name("fill_oracle.py")
    subprocess.run([str(part) for part in (environment.python, program, given, result)], check=True, timeout=600)
    np.testing.assert_array_equal(filled(corners), np.load(result) == 1)


@pytest.mark.full
def test_vads_square_roots_are_rounded_correctly_on_any_processor() -> None:
    """In double precision and rounded once they are right; MKL's own code is not on some processors."""
    layout = find_layout()
    try:
        environment = ensure_official(layout, "vad", say=print)
    except EnvError as error:
        pytest.skip(f"VAD's metrics cannot be installed: {error}")
    folder = str(layout.envs / "official" / "vad")
    program = (
        f"import sys; sys.path.insert(0, {folder!r}); import evaluate, numpy as np, torch; "
        "given = torch.rand(100000, generator=torch.Generator().manual_seed(0)) * 50; "
        "right = np.sqrt(given.numpy().astype(np.float64)).astype(np.float32); "
        "print((torch.sqrt(given).numpy() != right).sum())"
    )
    done = subprocess.run([environment.python, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout == "0\n"


@pytest.mark.full
def test_equal_to_vad_and_uniad_themselves(tmp_path: Path) -> None:
    vad, uniad = checkout_or_skip("VAD"), checkout_or_skip("UniAD")
    layout = find_layout()
    try:
        environment = ensure_official(layout, "vad", say=print)
    except EnvError as error:
        pytest.skip(f"VAD's metrics cannot be installed: {error}")
    samples = generate_plans(120, seed=3)
    program = layout.envs / "official" / "vad" / "evaluate.py"
    expected = official_plans(
        samples, python=environment.python, program=program, vad=vad, uniad=uniad, folder=tmp_path
    )
    plans = [sample.for_planning() for sample in samples]
    for protocol, name in ((STP3, "stp3"), (UNIAD, "uniad")):
        assert dict(evaluate_planning(plans, protocol=protocol).values) == pytest.approx(expected[name], abs=1e-9)
    ours = evaluate_motion(sample.for_motion() for sample in samples)
    assert dict(ours.values) == pytest.approx(expected["motion"], abs=1e-9)
