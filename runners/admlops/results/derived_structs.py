"""Derive decoders from `msgspec.Struct` classes: strict ones, and ones that read a choice of keys.

A schema is written once. What reads a part of it, or refuses what the schema does not name, is made from its classes
here, so that a new field needs no second edit.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Struct, UnsetType
from msgspec.structs import FieldInfo

Kind = TypeVar("Kind", bound=type[Struct])
_NONE: Mapping[Any, Any] = types.MappingProxyType({})


class Take(Enum):
    """How much of a key is decoded."""

    WHOLE = "whole"
    """Everything below it, in structs that skip unknown keys."""
    RAW = "raw"
    """Nothing: its bytes are kept, and only checked as JSON."""
    AS_IS = "as is"
    """By the class of the schema itself, with its own checks."""


Selection = Take | Mapping[str, "Selection"] | type
"""How much of a key is decoded: `Take`, its own keys, or a type of one's own for a key the schema does not have."""


def forbid_unknown(struct: Kind, *, narrower: Mapping[Any, Any] | None = None) -> Kind:
    """Return a subclass of `struct` that refuses unknown keys, at every level.

    Args:
        narrower: field types and the narrower types that replace them.
    """
    types_ = narrower or {}

    def change(inner: type[Struct]) -> type[Struct]:
        return forbid_unknown(inner, narrower=types_)

    fields = [_field(field, _map_structs(field.type, change, types_)) for field in msgspec.structs.fields(struct)]
    config = struct.__struct_config__
    derived = msgspec.defstruct(
        struct.__name__,
        cast("Any", fields),
        bases=(struct,),
        module=struct.__module__,
        namespace={"__doc__": struct.__doc__},
        frozen=config.frozen,
        omit_defaults=config.omit_defaults,
        forbid_unknown_fields=True,
    )
    return cast("Kind", derived)


def select(struct: type[Struct], keys: Mapping[str, Selection]) -> type[Struct]:
    """Return a struct that decodes the chosen keys of `struct` and skips every other.

    Its instances are mutable, are not tracked by the garbage collector, and have no checks but those of their types. A
    key that `struct` does not have is optional and needs a type of its own.
    """
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    fields: list[tuple[Any, ...]] = []
    for key, chosen in keys.items():
        field = known.get(key)
        if field is None:
            kind: Any = msgspec.Raw if chosen is Take.RAW else chosen
            fields.append((key, kind | UnsetType, UNSET))
        else:
            fields.append(_field(field, _selected(field.type, chosen)))
    fields.sort(key=lambda one: len(one) == 3)  # a field with a default may not stand before one without
    return msgspec.defstruct(f"Partial{struct.__name__}", cast("Any", fields), gc=False)


def merge(first: Selection, second: Selection) -> Selection:
    """Return the selection that decodes what both need: the one that decodes more, or the union of chosen keys."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        both = {key: merge(first[key], second[key]) for key in first if key in second}
        return {**first, **second, **both}
    if first == second:
        return first
    for strong in (Take.AS_IS, Take.WHOLE):
        if strong in (first, second):
            return strong
    return second if first is Take.RAW else first


def _selected(kind: Any, chosen: Selection) -> Any:
    if chosen is Take.AS_IS:
        return kind
    if chosen is Take.RAW:
        return (msgspec.Raw | UnsetType) if UnsetType in get_args(kind) else msgspec.Raw
    if isinstance(chosen, Mapping):
        return _map_structs(kind, lambda inner: select(inner, chosen))
    if chosen is Take.WHOLE:
        return _map_structs(kind, lambda inner: select(inner, _all_keys(inner)))
    return chosen


def _all_keys(struct: type[Struct]) -> dict[str, Selection]:
    return {field.encode_name: Take.WHOLE for field in msgspec.structs.fields(struct)}


def _map_structs(kind: Any, change: Callable[[type[Struct]], Any], others: Mapping[Any, Any] = _NONE) -> Any:
    """Return a type with every struct in it changed, and what is a key of `others` replaced."""
    if others and kind in others:
        return others[kind]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return change(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None or origin is Literal:
        return kind
    if origin is Annotated:
        return Annotated[(_map_structs(arguments[0], change, others), *arguments[1:])]
    mapped = tuple(_map_structs(one, change, others) for one in arguments)
    return Union[mapped] if origin in (Union, types.UnionType) else origin[mapped]  # noqa: UP007


def _field(field: FieldInfo, kind: Any) -> tuple[Any, ...]:
    name = msgspec.field(name=field.encode_name) if field.default is NODEFAULT else None
    if field.default is not NODEFAULT:
        return (field.name, kind, msgspec.field(default=field.default, name=field.encode_name))
    if field.default_factory is not NODEFAULT:
        factory = msgspec.field(default_factory=field.default_factory, name=field.encode_name)
        return (field.name, kind, factory)
    return (field.name, kind) if field.encode_name == field.name else (field.name, kind, name)
