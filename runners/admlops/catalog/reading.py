"""Reads a `model.toml`: TOML → shape → cross-checks. Every failure names file, key and what is expected there."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from admlops.catalog.checks import Problem, check_model
from admlops.catalog.model import Model
from admlops.catalog.other_models import explain_no_picture
from admlops.core.errors import CatalogError
from admlops.core.paths import Layout

FILE_NAME = "model.toml"
_NOT_MODELS = frozenset({"official"})
_SHOWN_CHARACTERS = 60


def list_models(layout: Layout) -> list[str]:
    """The names of all models, sorted: the folders of `envs/` that hold a `model.toml`."""
    files = layout.envs.glob(f"*/{FILE_NAME}")
    return sorted(file.parent.name for file in files if file.parent.name not in _NOT_MODELS)


def load_model(layout: Layout, name: str) -> Model:
    """The model called `name`.

    Raises:
        CatalogError: there is no such model, or its `model.toml` is not valid.
    """
    known = list_models(layout)
    if name not in known:
        reason = explain_no_picture(name)
        if reason is not None:
            raise CatalogError(f"{reason} (there are: {', '.join(known)})", hint="admlops models list")
        near = difflib.get_close_matches(name.lower(), [one.lower() for one in known], n=1)
        guess = next((one for one in known if near and one.lower() == near[0]), None)
        meant = f"; did you mean {guess}?" if guess else f" (there are: {', '.join(known) or 'none'})"
        raise CatalogError(f'no model is called "{name}" in {layout.envs}{meant}', hint="admlops models list")
    return read_model(layout.envs / name / FILE_NAME)


def find_known(layout: Layout, name: str) -> Model | None:
    """The model called `name`; None where the catalogue does not have it, or the package is installed without one.

    Raises:
        CatalogError: its `model.toml` is not valid.
    """
    return load_model(layout, name) if layout.is_checkout and name in list_models(layout) else None


def read_model(file: Path) -> Model:
    """The model that `file` describes.

    Raises:
        CatalogError: the file is missing, not TOML, or not a valid model; the message lists every problem.
    """
    model, problems = _parse(file.absolute())
    if model is None or problems:
        lines = [describe(file, problem) for problem in problems]
        raise CatalogError("\n".join(lines), hint=f"admlops models validate --config {file}   # after mending it")
    return model


def find_problems(file: Path) -> list[Problem]:
    """Everything that is wrong with `file`; empty if it is a valid model."""
    return _parse(file.absolute())[1]


def describe(file: Path, problem: Problem) -> str:
    """`file: key expected`, or `file:line:column: message` where the file is not TOML at all."""
    if problem.key.startswith(":"):
        return f"{file}{problem.key}: {problem.expected}"
    return f"{file}: {problem.key} {problem.expected}" if problem.key else f"{file}: {problem.expected}"


def _parse(file: Path) -> tuple[Model | None, list[Problem]]:
    data = _read_toml(file)
    if isinstance(data, Problem):
        return None, [data]
    if "folder" in data:
        return None, [Problem("folder", "is not a key of a model: the folder is where the file lies")]
    _rename_old_keys(data)
    _anchor_locks(data, file.parent)
    try:
        # Through JSON, because pydantic's strict mode takes an array as a tuple and a text as a path only from there.
        text = json.dumps({**data, "folder": str(file.parent)}, default=_spell_date)
        model = Model.model_validate_json(text)
    except ValidationError as error:
        return None, [_explain(details) for details in error.errors(include_url=False)]
    return model, list(check_model(model))


def _read_toml(file: Path) -> dict[str, Any] | Problem:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        return Problem(f":{line}:{column}", f"byte 0x{error.object[error.start]:02x} is not UTF-8, as TOML must be")
    except OSError as error:
        return Problem("", f"cannot be read: {error.strerror}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _locate(str(error), text)


def _locate(message: str, text: str) -> Problem:
    """The problem of a TOML error, whose message ends in `(at line 3, column 5)` or `(at end of document)`."""
    what, _, where = message.partition(" (at ")
    position = re.match(r"line (\d+), column (\d+)", where)
    lines = text.splitlines() or [""]
    line, column = position.groups() if position else (str(len(lines)), str(len(lines[-1]) + 1))
    return Problem(f":{line}:{column}", f"not TOML: {what[:1].lower()}{what[1:]}")


def _rename_old_keys(data: dict[str, Any]) -> None:
    """Take the keys of files written for admlops 0.1: `dataset` is `reads`, a variant's `backends` its `installers`."""
    if "reads" not in data and isinstance(data.get("dataset"), str):
        data["reads"] = [data.pop("dataset")]
    variants = data.get("variants")
    for variant in variants.values() if isinstance(variants, dict) else ():
        if isinstance(variant, dict) and "backends" in variant and "installers" not in variant:
            variant["installers"] = variant.pop("backends")


def _anchor_locks(data: dict[str, Any], folder: Path) -> None:
    """Make each variant's locks absolute paths; anything that is not one is left for the validation to refuse."""
    variants = data.get("variants")
    for variant in variants.values() if isinstance(variants, dict) else ():
        for key in ("requirements", "conda_lock") if isinstance(variant, dict) else ():
            lock = variant.get(key)
            if isinstance(lock, str) and lock:
                variant[key] = str(folder / lock)
        locks = variant.get("locks") if isinstance(variant, dict) else None
        for name, lock in locks.items() if isinstance(locks, dict) else ():
            if isinstance(locks, dict) and isinstance(lock, str) and lock:
                locks[name] = str(folder / lock)


def _spell_date(value: object) -> object:
    """TOML dates have no JSON form and no place in a model: hand over something that no key accepts."""
    return {"a date": str(value)}


def _explain(details: ErrorDetails) -> Problem:
    path = details["loc"]
    key = _spell_key(path)
    description = _describe_field(path)
    expected = f": {description}" if description else ""
    if details["type"] == "missing":
        return Problem(key, f"is missing{expected}")
    if details["type"] == "extra_forbidden":
        return Problem(key, f"is not a known key here; known are {', '.join(_known_keys(path[:-1]))}")
    if path[-1:] == ("[key]",):
        return Problem(_spell_key(path[:-1]), "is not a name: letters, digits, dots, dashes and underscores")
    given = _shorten(details["input"])
    if description:
        return Problem(key, f"must be {description}, not {given}")
    return Problem(key, f"{details['msg'].replace('Input should be', 'must be')}, not {given}")


def _spell_key(path: tuple[int | str, ...]) -> str:
    """`("published", 0, "metric")` → `published[0].metric`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _shorten(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _describe_field(path: tuple[int | str, ...]) -> str:
    """The description of the key that `path` names, or of the list that holds it."""
    names = [part for part in path if part != "[key]"]
    while names and isinstance(names[-1], int):
        names.pop()
    if not names:
        return ""
    part = _part_at(tuple(names[:-1]))
    field = part.model_fields.get(str(names[-1])) if part else None
    return (field.description or "") if field else ""


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    part = _part_at(path)
    return [name for name in part.model_fields if name != "folder" or part is not Model] if part else []


def _part_at(path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The class that validates the table at `path`: descends through tables, tables of tables and arrays of tables."""
    part: type[BaseModel] = Model
    names = iter(path)
    for name in names:
        field = part.model_fields.get(str(name))
        annotation: object = field.annotation if field else None
        inner = _class_in(annotation)
        if inner is None:
            return None
        if inner is not annotation:
            next(names, None)  # the name or index between the key and its tables
        part = inner
    return part


def _class_in(annotation: object) -> type[BaseModel] | None:
    """The pydantic class in a type such as `dict[str, Variant]` or `tuple[Claim, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_class_in(argument) for argument in get_args(annotation))
    return next((one for one in found if one is not None), None)
