"""The catalogue's fixes, applied to a model's configuration: corrections that published weights need."""

from typing import Any, Dict, List


def replace_value(config: Dict[str, Any], name: str, value: Dict[str, Any]) -> int:
    """Give one of a configuration's variables, a dictionary, another value wherever the configuration used it.

    A configuration file is a program: `dict(type="Normalize", **img_norm_cfg)` leaves a copy of the variable's items,
    and a change of the variable alone would reach none of them. Every dictionary that holds all of the old items gets
    the new ones. Returns how many there were, besides the variable itself.

    Raises:
        ValueError: the configuration has no such variable, or does not use it.
    """
    before = config.get(name)
    if not isinstance(before, dict) or not before:
        raise ValueError("the configuration has no dictionary named {}".format(name))
    old = dict(before)
    holders = [node for node in _dictionaries(config) if node is not before and _holds(node, old)]
    if not holders:
        raise ValueError("the configuration does not use its {}".format(name))
    for node in (*holders, before):
        for key in old:
            node.pop(key)
        node.update(value)
    return len(holders)


def replace_type(config: Dict[str, Any], old: str, new: str) -> int:
    """Let parts of a configuration that are of the class `old` be of `new`. Returns how many there were."""
    found = [node for node in _dictionaries(config) if node.get("type") == old]
    for node in found:
        node["type"] = new
    return len(found)


def _dictionaries(node: Any) -> List[Dict[str, Any]]:
    """Every dictionary in the tree, each once: configurations share some."""
    found: Dict[int, Dict[str, Any]] = {}
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if id(item) in found:
                continue
            found[id(item)] = item
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
    return list(found.values())


def _holds(node: Dict[str, Any], items: Dict[str, Any]) -> bool:
    return all(key in node and node[key] == value for key, value in items.items())
