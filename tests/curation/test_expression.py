"""Conditions are read, checked and put together again; what could reach more than samples is refused."""

from __future__ import annotations

import pytest

from admlops.core.errors import UsageError
from admlops.curation.columns import BY_NAME, COLUMNS
from admlops.curation.expression import check_tags, find_columns, read_condition, to_sql

RULES = {
    "night": read_condition("light = 'night'", where="rules"),
    "wet": read_condition("weather = 'rain' or description like '%puddle%'", where="rules"),
}


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("speed < 5", "coalesce((speed < 5), false)"),
        ("Speed < 5 and not light = 'night'", "coalesce(((Speed < 5) AND (NOT (light = 'night'))), false)"),
        ("speed between 1 and 2", "coalesce((speed BETWEEN 1 AND 2), false)"),
        ("scene in ('a', 'it''s')", "coalesce((scene IN ('a', 'it''s')), false)"),
        ("1 = 1 or speed > 3) or (speed < 5", "coalesce(((1 = 1) OR (speed > 3) OR (speed < 5)), false)"),
    ],
)
def test_it_is_put_together_again(text: str, sql: str) -> None:
    assert to_sql(read_condition(text, where="--where"), {}) == sql


def test_a_tag_stands_for_its_rule() -> None:
    condition = read_condition("tag = 'night' and tag not in ('wet') and speed < 5", where="--where")
    check_tags(condition, RULES)
    assert condition.tags == ("night", "wet")
    assert find_columns(condition, RULES) == ("speed", "light", "weather", "description")
    sql = to_sql(condition, RULES)
    assert "tag" not in sql
    assert "light = 'night'" in sql
    assert "NOT" in sql


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("spede < 5", "no column 'spede'"),
        ("samples.speed < 5", "no column 'samples.speed'"),
        ("speed", "neither true nor false"),
        ("speed <", "is no condition"),
        ("", "is empty"),
        ("speed < 'fast'", "Could not convert"),
        ("sample in (select sample from samples)", "subquery"),
        ("exists (select 1)", "subquery"),
        ("row_number() over () > 1", "window"),
        ("count(*) > 1", "count"),
        ("random() < 0.5", "cannot call random"),
        ("current_setting('threads') = 'x'", "cannot call current_setting"),
        ("getenv('HOME') = 'x'", "cannot call getenv"),
        ("read_text('/etc/passwd') = 'x'", "cannot call read_text"),
        ("speed < $1", "parameter"),
        ("* < 3", "star"),
        ("1 = 1); DROP TABLE samples; SELECT (1 = 1", "is no condition"),
        ("1 = 1); SELECT (1 = 1", "more than one condition"),
        ("1 = 1) GROUP BY (sample", "more than one condition"),
        ("tag like 'n%'", "compared with names alone"),
        ("tag = sample", "compared with names alone"),
        ("x" * 5000, "5000 characters"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_condition(text, where="--where")
    assert says in caught.value.message
    assert caught.value.message.startswith("--where")
    assert caught.value.hint


def test_an_unknown_tag_is_refused_with_those_near_it() -> None:
    with pytest.raises(UsageError, match="no rule defines the tag 'nigth'") as caught:
        check_tags(read_condition("tag = 'nigth'", where="--where"), RULES)
    assert "did you mean night" in caught.value.hint


def test_a_rule_takes_no_tags() -> None:
    with pytest.raises(UsageError, match="'tag' is none"):
        read_condition("tag = 'night'", where="mine.toml: rule dark", takes_tags=False)


def test_columns_are_said_once() -> None:
    assert len(BY_NAME) == len(COLUMNS)
    assert all(column.says.endswith(".") for column in COLUMNS)
