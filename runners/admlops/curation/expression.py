"""Conditions over the columns of a sample, written in SQL: read, checked, and put back together as SQL.

DuckDB's own parser makes a tree of a condition. Only trees of columns, constants, comparisons and the functions below
are taken, so a condition can neither read a file nor ask another table. What runs is SQL that is made of the tree
again, never the text that was given.
"""

from __future__ import annotations

import copy
import difflib
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from admlops.core.errors import UsageError
from admlops.curation.columns import BY_NAME

if TYPE_CHECKING:
    import duckdb

TAG = "tag"
"""The name that stands for a sample's tags: `tag = 'night'` holds where the sample has that tag."""
FUNCTIONS = (
    *("abs", "ceil", "coalesce", "contains", "ends_with", "exp", "floor", "greatest", "isfinite", "isnan", "least"),
    *("length", "ln", "lower", "pow", "regexp_matches", "round", "sign", "sqrt", "starts_with", "upper"),
)
"""The functions that a condition may call; `coalesce` takes the place of a value that is not there."""
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "^", "||", "~~", "!~~", "~~*", "!~~*", "~~~")
CLASSES = ("BETWEEN", "CASE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR")
NO_OPERATORS = (
    "ARRAY_EXTRACT",
    "ARRAY_SLICE",
    "STRUCT_EXTRACT",
    "ARRAY_CONSTRUCTOR",
    "OPERATOR_TRY",
    "GROUPING_FUNCTION",
)
MOST_CHARACTERS = 4000
NO_EXTENSIONS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
"""Settings of a database that fetches nothing."""
AN_EXAMPLE = "write one such as: speed < 5 and light = 'night'"
TABLE = "samples"
TABLE_FIRST = "sample"

Node = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A checked condition.

    Attributes:
        text: as it was given.
        tree: DuckDB's parse tree of it, still with `tag`.
        columns: the columns that it names.
        tags: the tags that it asks for.
        where: what to call it in messages: an option, or a file and a rule.
    """

    text: str
    tree: Mapping[str, Any]
    columns: tuple[str, ...]
    tags: tuple[str, ...]
    where: str


def read_condition(text: str, *, where: str, takes_tags: bool = True) -> Condition:
    """Return a condition that may be asked of samples.

    Args:
        where: an option, or a file and a rule, for messages.
        takes_tags: whether `tag = 'night'` is understood; rules that define tags do not take it.

    Raises:
        UsageError: it is no condition, names a column that does not exist, or does what conditions may not.
    """
    tree = _parse(text, where)
    nodes = list(_walk(tree))
    for node in nodes:
        _check_node(node, text, where)
    tags = _find_tags(tree, where) if takes_tags else ()
    names = [_name_of(node, where) for node in nodes if node["class"] == "COLUMN_REF"]
    for name in names:
        if name not in BY_NAME and not (takes_tags and name == TAG):
            raise _unknown_column(name, where, takes_tags=takes_tags)
    columns = tuple(dict.fromkeys(name for name in names if name != TAG))
    condition = Condition(text=text, tree=tree, columns=columns, tags=tags, where=where)
    _check_kinds(condition)
    return condition


def to_sql(condition: Condition, rules: Mapping[str, Condition]) -> str:
    """Return SQL that is true where a condition holds, and never NULL; `rules` define the tags that it asks for."""
    tree = _replace_tags(copy.deepcopy(dict(condition.tree)), rules)
    return f"coalesce({_deparse(tree)}, false)"


def find_columns(condition: Condition, rules: Mapping[str, Condition]) -> tuple[str, ...]:
    """Return the columns that a condition needs, those of its tags' rules included."""
    own = [*condition.columns, *(name for tag in condition.tags for name in rules[tag].columns)]
    return tuple(dict.fromkeys(own))


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    """A database with nothing in it but one sample of which nothing is known; it can reach nothing."""
    import duckdb

    connection = duckdb.connect(config={**NO_EXTENSIONS, "threads": 1, "memory_limit": "200MB", "temp_directory": ""})
    columns = ", ".join(f'"{name}" {column.kind}' for name, column in BY_NAME.items())
    connection.execute(f"CREATE TABLE {TABLE} ({columns})")
    connection.execute(f"INSERT INTO {TABLE} ({TABLE_FIRST}) VALUES (NULL)")
    lock(connection)
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a connection reach no file and no network any more, and change no setting."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _serialize(text: str) -> dict[str, Any]:
    row = _parser().execute("SELECT json_serialize_sql(?)", [f"SELECT 1 FROM {TABLE} WHERE (\n{text}\n)"]).fetchall()[0]
    return msgspec.json.decode(row[0], type=dict[str, Any])


def _parse(text: str, where: str) -> Node:
    if len(text) > MOST_CHARACTERS or not text.strip():
        what = "is empty" if not text.strip() else f"has {len(text)} characters, and {MOST_CHARACTERS} are the most"
        raise UsageError(f"{where}: the condition {what}: {text[:40]!r}", hint=AN_EXAMPLE)
    if not text.isprintable():
        raise UsageError(f"{where}: {text!r} has signs that cannot be printed", hint=AN_EXAMPLE)
    found = _serialize(text)
    if found["error"]:
        raise UsageError(
            f"{where}: {text!r} is no condition: {found['error_message']}",
            hint=f"{AN_EXAMPLE}   # texts stand in single quotes",
        )
    statements = found["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    plain = node.get("type") == "SELECT_NODE" and not any(
        node.get(key) for key in ("modifiers", "group_expressions", "having", "qualify")
    )
    if not plain or not node.get("where_clause"):
        raise _refused(text, where, "more than one condition")
    tree: Node = node["where_clause"]
    return tree


def _deparse(tree: Node) -> str:
    """SQL of a tree: the tree takes the place of a plain condition in a statement that the parser made."""
    statement = _serialize("true")
    statement["statements"][0]["node"]["where_clause"] = tree
    row = (
        _parser()
        .execute("SELECT json_deserialize_sql(?::JSON)", [msgspec.json.encode(statement).decode()])
        .fetchall()[0]
    )
    return str(row[0]).split(" WHERE ", 1)[1]


def _walk(value: Any) -> Iterator[Node]:
    """Every expression of a tree, the outer before the inner."""
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _check_node(node: Node, text: str, where: str) -> None:
    if node["class"] not in CLASSES or node["type"] in NO_OPERATORS:
        raise _refused(text, where, node["type"].lower().replace("_", " "))
    if node["class"] == "FUNCTION":
        name = str(node["function_name"])
        if name not in (OPERATORS if node.get("is_operator") else FUNCTIONS):
            raise UsageError(
                f"{where}: a condition cannot call {name}()", hint=f"these can be called: {', '.join(FUNCTIONS)}"
            )


def _refused(text: str, where: str, what: str) -> UsageError:
    return UsageError(
        f"{where}: {text!r} holds {what}, which conditions do not take",
        hint="use columns, constants, comparisons, and, or, not, in, between, like; docs/data-stats.md has them all",
    )


def _name_of(node: Node, where: str) -> str:
    names = [str(name) for name in node["column_names"]]
    if len(names) != 1:
        raise _unknown_column(".".join(names), where, takes_tags=True)
    return names[0].lower()


def _unknown_column(name: str, where: str, *, takes_tags: bool) -> UsageError:
    known = [*BY_NAME, *([TAG] if takes_tags else [])]
    if name == TAG:
        return UsageError(
            f"{where}: a rule is written in columns, and 'tag' is none", hint="repeat that tag's own condition"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}?   # all of them: " if near else ""
    return UsageError(f"{where}: there is no column {name!r}", hint=f"{meant}{', '.join(known)}")


def _is_tag(node: Any) -> bool:
    return isinstance(node, dict) and node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() == TAG


def _tags_of(node: Node) -> tuple[str, ...] | None:
    """The tags that a node compares `tag` with; None where it is no such comparison."""
    if node["type"] in ("COMPARE_EQUAL", "COMPARE_NOTEQUAL"):
        sides = [node["left"], node["right"]]
        others = [side for side in sides if not _is_tag(side)]
        if len(others) != 1:
            return None
    elif node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN") and _is_tag(node["children"][0]):
        others = node["children"][1:]
    else:
        return None
    texts = [other.get("literal", {}) for other in others]
    if any(text.get("kind") != "STRING" for text in texts):
        return None
    return tuple(str(text["text"]) for text in texts)


def _find_tags(tree: Node, where: str) -> tuple[str, ...]:
    asked: list[str] = []
    compared = 0
    for node in _walk(tree):
        tags = _tags_of(node)
        if tags is not None:
            compared += 1
            asked += tags
    if compared != sum(_is_tag(node) for node in _walk(tree)):
        raise UsageError(
            f"{where}: tag is compared with names alone", hint="write tag = 'night', tag != 'night' or tag in ('rain')"
        )
    return tuple(dict.fromkeys(asked))


def check_tags(condition: Condition, known: Collection[str]) -> None:
    """Raise UsageError for a tag that a condition asks for and no rule defines."""
    for tag in condition.tags:
        if tag not in known:
            near = difflib.get_close_matches(tag, known, n=3, cutoff=0.5)
            meant = f"did you mean {' or '.join(near)}?   # all of them: " if near else ""
            raise UsageError(f"{condition.where}: no rule defines the tag {tag!r}", hint=f"{meant}{', '.join(known)}")


def _replace_tags(node: Any, rules: Mapping[str, Condition]) -> Any:
    if isinstance(node, list):
        return [_replace_tags(inner, rules) for inner in node]
    if not isinstance(node, dict):
        return node
    tags = _tags_of(node) if "class" in node else None
    if tags is None or not any(_is_tag(one) for one in _walk(node)):
        return {key: _replace_tags(inner, rules) for key, inner in node.items()}
    has = " OR ".join(to_sql(rules[tag], {}) for tag in tags)
    is_not = node["type"] in ("COMPARE_NOTEQUAL", "COMPARE_NOT_IN")
    inner: Node = _serialize(f"NOT ({has})" if is_not else f"({has})")["statements"][0]["node"]["where_clause"]
    return inner


def _check_kinds(condition: Condition) -> None:
    """Let DuckDB try it on one sample of which nothing is known; the value must be true or false."""
    import duckdb

    own = Condition(text="", tree=condition.tree, columns=(), tags=(), where="")
    truth = _serialize("true")["statements"][0]["node"]["where_clause"]
    tree = _without_tags(copy.deepcopy(dict(own.tree)), truth)
    try:
        query = f"SELECT ({_deparse(tree)}) AS holds FROM {TABLE}"
        described = _parser().execute(f"DESCRIBE {query}").fetchall()[0]
        _parser().execute(query).fetchall()
    except duckdb.Error as error:
        reason = str(error).split("\n", 1)[0]
        raise UsageError(
            f"{condition.where}: {condition.text!r}: {reason}", hint="docs/data-stats.md says what each column is"
        ) from error
    if described[1] != "BOOLEAN":
        raise UsageError(
            f"{condition.where}: {condition.text!r} is neither true nor false", hint="compare it: speed < 5"
        )


def _without_tags(node: Any, truth: Node) -> Any:
    if isinstance(node, list):
        return [_without_tags(inner, truth) for inner in node]
    if not isinstance(node, dict):
        return node
    if "class" in node and _tags_of(node) is not None and any(_is_tag(one) for one in _walk(node)):
        return truth
    return {key: _without_tags(inner, truth) for key, inner in node.items()}
