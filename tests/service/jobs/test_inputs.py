"""Inputs of endpoints: what is taken, what is refused, and that the JSON Schemas say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from admlops.core.errors import AdmlopsError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.service.jobs.checks import find_data
from admlops.service.jobs.endpoints import ENDPOINTS, check_input
from admlops.service.jobs.folders import job_folder, job_log
from admlops.service.jobs.settings import JobSettings, decode_order, default_settings, encode_order

BUILT_IN = ("run", "compare", "battle", "evaluate", "export")
GOOD = [
    ("run", {"model": "GroundPlane"}),
    ("run", {"model": "MapTR", "data": "sets/a", "scenes": ["scene-0103"], "options": {}, "engine": "onnx:fp16"}),
    ("run", {"model": "GroundPlane", "stream": True, "corrupt": "frame-lost:3", "throughput": True}),
    ("run", {"model": "GroundPlane", "where": "tag = 'night' and speed < 5"}),
    ("compare", {"models": ["GroundPlane", "MapTR"], "together": True}),
    ("compare", {"models": ["GroundPlane", "MapTR@onnx"], "split": "mini_val", "batch": "auto"}),
    ("battle", {"model_a": "GroundPlane", "model_b": "MapTR", "metric": "nuscenes.detection_cvpr_2019/NDS"}),
    ("export", {"model": "CalibrationStatus", "weights": "random:0", "opset": 18}),
]
BAD_SHAPES: list[tuple[str, Any, str]] = [
    ("run", {}, "missing required field `model`"),
    ("run", None, "Expected `object`"),
    ("run", [], "Expected `object`"),
    ("run", {"model": 3}, "$.model"),
    ("run", {"model": "../GroundPlane"}, "$.model"),
    ("run", {"model": "GroundPlane", "limit": 0}, "$.limit"),
    ("run", {"model": "GroundPlane", "limit": True}, "$.limit"),
    ("run", {"model": "GroundPlane", "workers": 65}, "$.workers"),
    ("run", {"model": "GroundPlane", "device": "cuda:0; rm"}, "$.device"),
    ("run", {"model": "GroundPlane", "executor": "local"}, "unknown field `executor`"),
    ("run", {"model": "GroundPlane", "engine": "/tmp/network.onnx"}, "$.engine"),
    ("run", {"model": "GroundPlane", "engine": "onnx:/tmp/x.onnx"}, "$.engine"),
    ("run", {"model": "GroundPlane", "checkpoint": "/etc/passwd"}, "$.checkpoint"),
    ("run", {"model": "GroundPlane", "scenes": ["../x"]}, "$.scenes"),
    ("run", {"model": "GroundPlane", "options": {"a": "b;c"}}, "$.options"),
    ("run", {"model": "GroundPlane", "corrupt": "fog"}, "$.corrupt"),
    ("run", {"model": "GroundPlane", "corrupt": "fog:4"}, "$.corrupt"),
    ("run", {"model": "GroundPlane", "where": ""}, "$.where"),
    ("compare", {"models": []}, "$.models"),
    ("compare", {"models": ["GroundPlane"], "submissions": ["../x"]}, "$.submissions"),
    ("battle", {"model_a": "GroundPlane"}, "model_b"),
    ("evaluate", {"run": "../runs"}, "$.run"),
    ("export", {"model": "GroundPlane", "opset": 99}, "$.opset"),
]
BAD_HERE = [
    ("run", {"model": "GroundPlan"}, "GroundPlan"),
    ("run", {"model": "GroundPlane", "variant": "newest"}, "newest"),
    ("run", {"model": "GroundPlane", "checkpoint": "best"}, "no checkpoint 'best'"),
    ("run", {"model": "GroundPlane", "config": "large"}, "no config 'large'"),
    ("run", {"model": "GroundPlane", "options": {"fast": "yes"}}, "no option fast"),
    ("run", {"model": "GroundPlane", "engine": "abacus"}, "abacus"),
    ("run", {"model": "GroundPlane", "corrupt": "mist:1"}, "'mist' is no fault"),
    ("run", {"model": "GroundPlane", "corrupt": "lidar-points:1"}, "looks at camera alone"),
    ("run", {"model": "GroundPlane", "where": "speed < 5", "images": [{"image_path": "a.jpg"}]}, "exclude each other"),
    ("run", {"model": "GroundPlane", "where": "spede < 5"}, "where"),
    ("run", {"model": "GroundPlane", "where": "tag = 'nihgt'"}, "no rule defines the tag 'nihgt'"),
    ("run", {"model": "GroundPlane", "data": "/etc"}, "below no allowed root"),
    ("run", {"model": "GroundPlane", "data": "nothing"}, "is not there"),
    ("run", {"model": "GroundPlane", "scenes": ["a"], "split": "val"}, "exclude each other"),
    ("run", {"model": "GroundPlane", "split": "mini_val\n"}, "cannot be printed"),
    ("compare", {"models": ["GroundPlane"], "metric": "beauty"}, "beauty"),
    ("compare", {"models": ["GroundPlane"], "also": "/etc"}, "below no allowed root"),
    ("compare", {"models": ["GroundPlane"], "submissions": ["no-such-run"]}, "no-such-run"),
    ("battle", {"model_a": "GroundPlane", "model_b": "GroundPlane"}, "always a tie"),
    ("battle", {"model_a": "GroundPlane", "model_b": "no-such-run"}, "no-such-run"),
    ("evaluate", {"run": "no-such-run"}, "no-such-run"),
    ("export", {"model": "GroundPlane"}, "GroundPlane"),
    ("nothing", {}, "no endpoint 'nothing'"),
]


@pytest.fixture
def settings(layout: Layout) -> JobSettings:
    return default_settings(layout)


def is_valid(endpoint: str, given: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(ENDPOINTS.get(endpoint).schema).is_valid(given))


@pytest.mark.parametrize("endpoint", BUILT_IN)
def test_every_schema_is_one_and_is_closed(endpoint: str) -> None:
    schema = ENDPOINTS.get(endpoint).schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert "  " not in schema["description"].splitlines()[0]
    assert ENDPOINTS.get(endpoint).id == endpoint


@pytest.mark.parametrize(("endpoint", "given"), GOOD)
def test_good_inputs(endpoint: str, given: dict[str, Any]) -> None:
    decoded = ENDPOINTS.get(endpoint).decode(given)
    assert given.items() <= msgspec.to_builtins(decoded).items()
    assert is_valid(endpoint, given)


@pytest.mark.parametrize(("endpoint", "given", "said"), BAD_SHAPES)
def test_wrong_shapes_name_the_key(endpoint: str, given: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        ENDPOINTS.get(endpoint).decode(given)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"input of {endpoint}: ")
    assert not is_valid(endpoint, given)


@pytest.mark.parametrize(("endpoint", "given", "said"), BAD_HERE)
def test_what_is_not_here_is_refused_before_it_is_queued(
    layout: Layout, settings: JobSettings, endpoint: str, given: Any, said: str
) -> None:
    layout.data.mkdir(parents=True)
    with pytest.raises(AdmlopsError) as caught:
        check_input(layout, settings, endpoint, given)
    assert said in caught.value.message
    assert caught.value.hint


def test_data_lies_below_an_allowed_root(tmp_path: Path) -> None:
    first, second, outside = (tmp_path / name for name in ("first", "second", "outside"))
    for folder in (first / "a", second / "b", outside / "c"):
        folder.mkdir(parents=True)
    (first / "link").symlink_to(outside / "c")
    settings = JobSettings(database="x", data_roots=(first, second))
    assert find_data(settings, "a") == first / "a"
    assert find_data(settings, "b") == second / "b"
    assert find_data(settings, str(second / "b")) == second / "b"
    assert find_data(settings, "link") == first / "link"  # the operator's own
    for named in ("../outside/c", str(outside / "c"), f"{first}/../outside/c", "/", "~", "a/../../outside/c"):
        with pytest.raises(UsageError):
            find_data(settings, named)
    with pytest.raises(UsageError, match="allowed roots: none"):
        find_data(JobSettings(database="x", data_roots=()), "a")


@pytest.mark.parametrize("job_id", ["", "..", "../x", "a/b", "a" * 65, "-x", "x\n"])
def test_an_id_names_no_other_folder(job_id: str) -> None:
    with pytest.raises(UsageError):
        job_folder(find_layout(), job_id)


def test_folders_of_jobs(layout: Layout) -> None:
    assert job_log(layout, "sync-1-u1") == layout.repository / "jobs" / "sync-1-u1" / "job.log"


def test_settings_go_through_a_pipe(layout: Layout) -> None:
    settings = JobSettings(database="x", data_roots=(layout.data,), backup=layout.repository, endpoints=("run",))
    assert decode_order(encode_order(settings), JobSettings) == settings
