"""Configurations that lie outside a model's source: copies that a user edits, wherever they are.

mm libraries resolve `_base_` relative to the file that names it, so a copy elsewhere loses what it builds on. Its bases
are looked for beside it first, then where the catalogue's configurations of the model lie.
"""

import ast
import os
from typing import Any, List, Sequence

from ..samples.nuscenes import DataError


class ConfigError(DataError):
    """A configuration cannot be read; the message names it and what it lacks."""


def is_outside(path: str, root: str) -> bool:
    """Tell whether a file does not lie in the source."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root)).split(os.sep)[0] == os.pardir


def adapt_bases(path: str, folders: Sequence[str]) -> str:
    """The text of a configuration, with every base that is not beside it named by an absolute path below `folders`.

    Raises:
        ConfigError: the file is no Python, or a base is in none of the places.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError("the config {} cannot be read: {}".format(path, error)) from error
    nodes = [node for node in tree.body if isinstance(node, ast.Assign) and _names_bases(node)]
    if not nodes:
        return text
    try:
        given = ast.literal_eval(nodes[-1].value)
    except ValueError as error:
        raise ConfigError("the config {}: its _base_ is no text or list of texts".format(path)) from error
    bases = [given] if isinstance(given, str) else list(given)
    found = [_find_base(path, base, folders) for base in bases]
    lines = text.split("\n")
    for node in reversed(nodes):
        end = node.end_lineno or node.lineno
        lines[node.lineno - 1 : end] = ["_base_ = {!r}".format(found), *[""] * (end - node.lineno)]
    return "\n".join(lines)


def _names_bases(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "_base_" for target in node.targets)


def _find_base(path: str, base: Any, folders: Sequence[str]) -> str:
    tried: List[str] = []
    for folder in (os.path.dirname(path), *folders):
        candidate = os.path.normpath(os.path.join(folder, str(base)))
        if os.path.isfile(candidate):
            return candidate
        tried.append(candidate)
    raise ConfigError(
        "the config {} builds on {}, which is not there: looked for {}. Lay the copy beside the config it was copied "
        "from, or name its _base_ by an absolute path".format(path, base, ", ".join(tried))
    )
