"""The standard record: its published schema is its classes, and what is not a record is refused."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.documents import key_paths

from admlops.core.errors import RecordError
from admlops.core.paths import find_layout
from admlops.results.record import Outputs
from admlops.results.record_json import decode_record, encode_record, make_record, record_schema, task_keys

DECODE_OUTPUTS = msgspec.json.Decoder(Outputs).decode

SCHEMA = record_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _record() -> dict[str, Any]:
    box = {"center": [12.5, -3.0, 0.75], "size_wlh": [1.9, 4.5, 1.6], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
    return {
        "schema": 1,
        "metadata": {
            "model_name": "GroundPlane",
            "variant": "modern",
            "run": "run-1",
            "sample_token": "e93e98b63d3b40209056d129dc53ceee",
            "scene": "scene-0103",
            "index_in_scene": 0,
            "status": "ok",
            "inference_time": 0.031,
        },
        "detections_3d": [
            {"id": 0, "class_name": "car", "confidence": 0.5, "bbox_3d": {**box, "velocity": [1.0, 0.0]}}
        ],
        "map_elements": [{"id": 0, "type": "divider", "points": [[0.0, 1.0], [5.0, 1.5]], "confidence": 0.9}],
    }


def _refusal(document: dict[str, Any] | str) -> str:
    line = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(RecordError) as caught:
        decode_record(line.encode(), where="records/scene-0103.jsonl:7")
    assert caught.value.message.startswith("records/scene-0103.jsonl:7 ")
    return caught.value.message


def test_the_published_schema_is_up_to_date() -> None:
    published = find_layout().root / "docs" / "record.schema.json"
    text = json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"
    assert published.read_text() == text, "admlops results schema --out docs/record.schema.json"


def test_the_schema_is_one_and_says_units_and_frames() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    definitions = SCHEMA["$defs"]
    assert "[m]" in definitions["Box3D"]["properties"]["center"]["description"]
    assert "[m/s]" in definitions["Box3D"]["properties"]["velocity"]["description"]
    assert "x forward, y left, z up" in definitions["Record"]["description"]
    bare = [name for name, one in definitions.items() if not one.get("description")]
    assert bare == []


def test_a_record_survives_the_way_through_a_file() -> None:
    record = decode_record(json.dumps(_record()).encode(), where="here")
    assert decode_record(encode_record(record), where="there") == record
    assert json.loads(encode_record(record)) == _record()


def test_an_empty_list_is_not_an_absent_task() -> None:
    metadata = decode_record(json.dumps(_record()).encode(), where="here").metadata
    looked = json.loads(encode_record(make_record(metadata, DECODE_OUTPUTS(b'{"detections_3d": []}'))))
    assert looked["detections_3d"] == []
    assert "map_elements" not in looked


def _nest(value: object, *path: str | int) -> dict[str, Any]:
    """The record with one value replaced."""
    document: Any = _record()
    table = document
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return dict(document)


SEEN = {"id": 0, "camera": "CAM_FRONT", "class_name": "car", "bbox_xyxy": [5.0, 0.5, 4.5, 9.0], "confidence": 0.5}
LANE = {"id": 0, "points": [[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]], "confidence": 0.5}
GRAPH = {"lanes": [LANE], "traffic_elements": [], "lane_to_lane": [[0.1]], "lane_to_traffic": [[]]}
ENTRY = {"floor": 0.1, "rows": [0], "columns": [0], "confidences": [0.5]}

BOX = ("detections_3d", 0, "bbox_3d")
REFUSED = [
    (_nest(2, "schema"), "record schema 2; this admlops reads up to 1"),
    (_nest(0, "schema"), "Invalid enum value 0"),
    (_nest([1.0, 2.0], *BOX, "center"), "length 3"),
    (_nest([1.0, 2.0, 3.0, 4.0], *BOX, "center"), "length 3"),
    (_nest([1.0, 0.0, 0.0], *BOX, "rotation_wxyz"), "length 4"),
    (_nest(None, *BOX, "center"), "got `null`"),
    (_nest("0.5", "detections_3d", 0, "confidence"), "got `str`"),
    (_nest("", "detections_3d", 0, "class_name"), "length >= 1"),
    (_nest(-1, "detections_3d", 0, "id"), ">= 0"),
    (_nest([[0.0, 1.0]], "map_elements", 0, "points"), "length >= 2"),
    (_nest([], "map_elements", 0, "points"), "length >= 2"),
    (_nest([[0.0, 1.0, 2.0]] * 2, "map_elements", 0, "points"), "length 2"),
    (_nest(-0.001, "metadata", "inference_time"), ">= 0.0"),
    (_nest("done", "metadata", "status"), "Invalid enum value 'done'"),
    (_nest(None, "map_elements"), "got `null`"),
    (_nest([{"camera": "CAM_FRONT", "score": 1.5}], "car_presence"), "<= 1.0"),
    (_nest([{"score": 0.5}], "car_presence"), "missing required field `camera`"),
]


@pytest.mark.parametrize(("document", "expected"), REFUSED)
def test_what_is_not_a_record_is_refused_by_both(document: dict[str, Any], expected: str) -> None:
    assert expected in _refusal(document)
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (_nest([1.9, 0.0, 1.6], *BOX, "size_wlh"), "> 0.0"),
        (_nest([1.9, -4.5, 1.6], *BOX, "size_wlh"), "> 0.0"),
        (_nest(1.01, "detections_3d", 0, "confidence"), "<= 1.0"),
        (_nest(-0.01, "map_elements", 0, "confidence"), ">= 0.0"),
        (_nest({**GRAPH, "lane_to_lane": [[1.5]]}, "lane_graph"), "<= 1.0"),
    ],
)
def test_what_a_submission_may_say_is_refused_from_a_worker(document: dict[str, Any], expected: str) -> None:
    assert VALIDATOR.is_valid(document)
    decode_record(json.dumps(document).encode(), where="here")
    outputs = {key: value for key, value in document.items() if key not in ("schema", "metadata")}
    with pytest.raises(msgspec.ValidationError, match=expected):
        DECODE_OUTPUTS(json.dumps(outputs).encode())


@pytest.mark.parametrize("path", [(), ("metadata",), ("detections_3d", 0), BOX, ("map_elements", 0)])
def test_a_key_of_tomorrow_is_skipped_when_read_and_refused_from_a_worker(path: tuple[str | int, ...]) -> None:
    document = _nest("red", *path, "colour")
    assert VALIDATOR.is_valid(document)
    record = decode_record(json.dumps(document).encode(), where="here")
    assert json.loads(encode_record(record)) == _record()
    outputs = {key: value for key, value in document.items() if key not in ("schema", "metadata")}
    if path != ("metadata",):
        with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
            DECODE_OUTPUTS(json.dumps(outputs).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "failed"}, "has status failed, and no failure that says why"),
        ({"status": "failed", "failure": {"class": "data", "message": "m", "hint": "h"}}, "failed, and outputs"),
        ({"failure": {"class": "data", "message": "m", "hint": "h"}}, "has status ok, and a failure"),
    ],
)
def test_a_status_that_its_record_contradicts_is_refused(change: dict[str, Any], said: str) -> None:
    document = _record()
    document["metadata"] |= change
    refusal = _refusal(document)
    assert said in refusal
    assert "sample e93e98b63d3b40209056d129dc53ceee (scene-0103)" in refusal


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    line = json.dumps(_record()).replace("12.5", number)
    assert "NaN and infinity are not numbers of JSON" in _refusal(line)
    with pytest.raises(msgspec.DecodeError):
        DECODE_OUTPUTS(json.dumps({"detections_3d": _record()["detections_3d"]}).replace("12.5", number).encode())


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '"schema"', '{"schema": 1}', json.dumps(_record())[:-5]])
def test_half_a_line_is_refused(line: str) -> None:
    assert "is not a standard record" in _refusal(line)


def _documents(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents that a JSON Schema of the kinds that msgspec writes allows."""
    if "$ref" in schema:
        return st.deferred(lambda: _documents(SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]))
    if "anyOf" in schema:
        return st.one_of([_documents(one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "additionalProperties" in schema and "properties" not in schema:
        return st.dictionaries(st.text(max_size=5), _documents(schema["additionalProperties"]), max_size=2)
    if schema["type"] == "object":
        properties, required = schema["properties"], set(schema["required"])
        return st.fixed_dictionaries(
            {name: _documents(one) for name, one in properties.items() if name in required},
            optional={name: _documents(one) for name, one in properties.items() if name not in required},
        )
    if "prefixItems" in schema:
        return st.tuples(*(_documents(one) for one in schema["prefixItems"])).map(list)
    if schema["type"] == "array":
        smallest = schema.get("minItems", 0)
        return st.lists(_documents(schema["items"]), min_size=smallest, max_size=smallest + 1)
    return _scalars(schema)


def _scalars(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "string": st.text(min_size=schema.get("minLength", 0), max_size=5),
        "integer": st.integers(schema.get("minimum"), 2**53),
        "number": st.floats(
            schema.get("minimum", schema.get("exclusiveMinimum")),
            schema.get("maximum"),
            exclude_min="exclusiveMinimum" in schema,
            allow_nan=False,
            allow_infinity=False,
        ),
    }
    return kinds[schema["type"]]


# Whole floats are left out: JSON Schema takes 1.0 for an integer, msgspec does not (see the test below).
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


BEYOND_SCHEMA = (
    "has status ",
    "is not a unit quaternion",
    "is not x1, y1, x2, y2",
    "lane_to_lane is not",
    "lane_to_lane has ",
    "lane_to_traffic is not",
    "lane_to_traffic has ",
)
"""What the decoder refuses and JSON Schema has no words for."""


def _why_not(document: object) -> str | None:
    """None for a record, else what the decoder says."""
    try:
        decode_record(json.dumps(document).encode(), where="here")
    except RecordError as error:
        return error.message
    return None


def _mend(document: dict[str, Any]) -> dict[str, Any]:
    """The document with unit quaternions and matrices of the right shape, which the schema cannot ask for."""
    for detection in document.get("detections_3d", ()):
        detection["bbox_3d"]["rotation_wxyz"] = [0.6, 0.0, 0.0, 0.8]
    for detection in document.get("detections_2d", ()):
        x1, y1, x2, y2 = detection["bbox_xyxy"]
        detection["bbox_xyxy"] = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
    metadata = document["metadata"]
    if metadata["status"] == "ok":
        metadata.pop("failure", None)
    else:
        metadata.setdefault("failure", {"class": "data", "message": "m", "hint": "h"})
        for key in task_keys():
            document.pop(key, None)
    if "lane_graph" in document:
        graph = document["lane_graph"]
        rows = len(graph["lanes"])
        for name, width in (("lane_to_lane", rows), ("lane_to_traffic", len(graph["traffic_elements"]))):
            if isinstance(graph[name], list):
                graph[name] = [[0.5] * width for _ in range(rows)]
            elif rows and width:
                graph[name] |= {"rows": [rows - 1], "columns": [width - 1], "confidences": [0.5]}
            else:
                graph[name] |= {"rows": [], "columns": [], "confidences": []}
    return document


@settings(max_examples=30, deadline=None)
@given(_documents(SCHEMA).map(_mend))
def test_schema_and_decoder_agree_on_what_is_valid(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)
    record = decode_record(json.dumps(document).encode(), where="here")
    VALIDATOR.validate(json.loads(encode_record(record)))
    assert decode_record(encode_record(record), where="there") == record


@settings(max_examples=100, deadline=None)
@given(_documents(SCHEMA).map(_mend), st.data())
def test_schema_and_decoder_agree_on_what_is_not(document: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(key_paths(document)))
    table: Any = document
    for key in path[:-1]:
        table = table[key]
    change = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "replace":
        table[path[-1]] = data.draw(ANYTHING)
    elif change == "remove":
        del table[path[-1]]
    elif isinstance(table, list):
        table.append(data.draw(ANYTHING))
    else:
        table[data.draw(st.text(max_size=5))] = data.draw(ANYTHING)
    refusal = _why_not(document)
    by_design = refusal is not None and any(words in refusal for words in BEYOND_SCHEMA)
    assert by_design or VALIDATOR.is_valid(document) == (refusal is None)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (_nest([1.0, 1.0, 0.0, 0.0], *BOX, "rotation_wxyz"), "is not a unit quaternion"),
        (_nest([0.0, 0.0, 0.0, 0.0], *BOX, "rotation_wxyz"), "is not a unit quaternion"),
        (_nest([SEEN], "detections_2d"), "is not x1, y1, x2, y2 with x1 ≤ x2"),
        (_nest({**GRAPH, "lane_to_lane": [[0.1, 0.2]]}, "lane_graph"), "lane_to_lane is not 1 × 1"),
        (_nest({**GRAPH, "lane_to_traffic": [[0.1]]}, "lane_graph"), "lane_to_traffic is not 1 × 0"),
        (
            _nest({**GRAPH, "lane_to_lane": {**ENTRY, "rows": [1]}}, "lane_graph"),
            "lane_to_lane has an entry in row 1 and is 1 × 1",
        ),
        (_nest({**GRAPH, "lane_to_traffic": ENTRY}, "lane_graph"), "lane_to_traffic has an entry in column 0 and is"),
        (
            _nest({**GRAPH, "lane_to_lane": {**ENTRY, "confidences": []}}, "lane_graph"),
            "lane_to_lane has 1 rows, 1 columns and 0 confidences",
        ),
        (
            _nest(
                {
                    **GRAPH,
                    "lane_to_lane": {"floor": 0.1, "rows": [0] * 2, "columns": [0] * 2, "confidences": [0.5] * 2},
                },
                "lane_graph",
            ),
            "lane_to_lane has 2 entries for row 0, column 0",
        ),
    ],
)
def test_what_the_schema_has_no_words_for_is_refused_too(document: dict[str, Any], expected: str) -> None:
    assert expected in _refusal(document)


@pytest.mark.parametrize("relation", [[[0.1]], ENTRY, {"floor": 0.5, "rows": [], "columns": [], "confidences": []}])
def test_a_lane_graph_of_the_right_shape_is_a_record(relation: object) -> None:
    document = _nest({**GRAPH, "lane_to_lane": relation}, "lane_graph")
    assert _why_not(document) is None
    VALIDATOR.validate(document)
    record = decode_record(json.dumps(document).encode(), where="here")
    assert json.loads(encode_record(record))["lane_graph"]["lane_to_lane"] == relation


def test_the_one_thing_on_which_they_differ() -> None:
    document = _nest(0.0, "detections_3d", 0, "id")
    assert VALIDATOR.is_valid(document)
    assert "Expected `int`, got `float`" in _refusal(document)
