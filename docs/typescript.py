"""TypeScript for the shapes of inputs, from their JSON Schemas; `python -m docs.generate` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

HEAD = "// Written by `python -m docs.generate` from the service's own shapes.\n"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def write_types(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """Return an interface for each schema of an object."""
    return HEAD + "".join(f"\n{_interface(name, schema)}" for name, schema in sorted(schemas.items()))


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [f"export interface {name} {{"]
    for key, value in schema["properties"].items():
        said = value.get("description")
        if said:
            lines.append(f"  /** {said} */")
        lines.append(
            f"  {key if NAME.fullmatch(key) else json.dumps(key)}{'' if key in required else '?'}: {_type(value)};"
        )
    return "\n".join([*_comment(schema), *lines, "}"]) + "\n"


def _comment(schema: Mapping[str, Any]) -> list[str]:
    first = str(schema.get("description", "")).strip().split("\n\n")[0]
    return [f"/** {' '.join(first.split())} */"] if first else []


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(dict.fromkeys(_type(one) for one in schema[key]))
    if "enum" in schema:
        return " | ".join(json.dumps(one) for one in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        inner = _type(schema.get("items", {}))
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object":
        more = schema.get("additionalProperties", {})
        return f"Record<string, {_type(more) if isinstance(more, dict) else 'unknown'}>"
    return {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}.get(
        str(kind), "unknown"
    )
