"""Forms made from the schemas of inputs: every property has a field, and what is sent is an input again."""

from __future__ import annotations

import pytest
from starlette.datastructures import FormData

from admlops.service.dashboard.forms import Known, make_form, read_form
from admlops.service.jobs.endpoints import ENDPOINTS

KNOWN = Known(choices={"model": [("MapTR", "MapTR")], "models": [("MapTR", "MapTR"), ("PETR", "PETR")]})


@pytest.mark.parametrize("name", ENDPOINTS.ids())
def test_every_property_of_an_input_has_a_field_with_a_name(name: str) -> None:
    endpoint = ENDPOINTS.get(name)
    form = make_form(endpoint, KNOWN, {})
    fields = {field.name: field for field in (*form.fields, *form.further)}
    assert set(fields) == set(endpoint.schema["properties"])
    assert all(field.label[0].isupper() for field in fields.values())
    required = {field.name for field in form.fields if field.required}
    assert required == set(endpoint.schema.get("required", ()))


def test_what_a_form_sends_is_an_input_and_what_is_left_as_it_was_is_left_out() -> None:
    endpoint = ENDPOINTS.get("run")
    sent = FormData(
        [
            ("model", "MapTR"),
            ("data", " "),
            ("limit", "4"),
            ("device", "auto"),
            ("batch", "2"),
            ("scenes", "scene-1\r\n\r\nscene-2"),
            ("options", "command=straight\n"),
            ("evaluate", "on"),
            ("images", "https://example.org/a.jpg 3\nstreets/b c.jpg\n"),
        ]
    )
    given = read_form(endpoint, sent)
    assert given == {
        "model": "MapTR",
        "limit": 4,
        "batch": 2,
        "scenes": ["scene-1", "scene-2"],
        "options": {"command": "straight"},
        "report": False,
        "images": [{"image_path": "https://example.org/a.jpg", "car_count": 3}, {"image_path": "streets/b c.jpg"}],
    }
    endpoint.decode(given)
    shown = {field.name: field.value for field in make_form(endpoint, KNOWN, given).further}
    assert shown["scenes"] == "scene-1\nscene-2"
    assert shown["report"] is False
    assert shown["images"] == "https://example.org/a.jpg 3\nstreets/b c.jpg"


def test_several_of_a_list_and_words_in_place_of_numbers() -> None:
    compare = ENDPOINTS.get("compare")
    given = read_form(compare, FormData([("models", "MapTR"), ("models", "PETR"), ("batch", "auto"), ("limit", "x")]))
    assert given == {"models": ["MapTR", "PETR"], "batch": "auto", "limit": "x"}
