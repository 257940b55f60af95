"""Read a deployment config: every key is taken, or refused with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from admlops.core.errors import UsageError
from admlops.deployment.deploy_config import Deployment
from admlops.deployment.deploy_draft import Draft
from admlops.deployment.deploy_keys import REFUSED, SECTIONS, TAKEN
from admlops.deployment.deploy_whole import list_idle, require_whole
from admlops.deployment.literals import Value, read_literals


def read_deployment(path: Path) -> Deployment:
    """Read a config file without executing it.

    Raises:
        UsageError: the file holds code, or a key that is unknown, wrong, or refused here: names its line.
    """
    values = read_literals(path)
    draft = Draft(file=path, lines={})
    for name, value in values.items():
        draft.lines[name] = value.line
        if name in SECTIONS:
            _take_section(draft, name, value)
        elif name in TAKEN:
            TAKEN[name].take(draft, name, value)
        else:
            raise draft.refuse(name, _problem(name), _instead(name))
    if not {"export", "onnx_config", "evaluation"} & set(values):
        raise UsageError(
            f"{path} asks for nothing: it has none of export, onnx_config and evaluation",
            hint="docs/deploy.md shows a whole file",
        )
    deployment = draft.finish()
    require_whole(deployment)
    return replace(deployment, words=(*deployment.words, *list_idle(deployment)))


def _take_section(draft: Draft, path: str, value: Value) -> None:
    if not isinstance(value.content, dict):
        raise draft.refuse(path, "this is no dictionary", f"write {path} = dict(...)")
    for key, inner in value.content.items():
        whole = f"{path}.{key}"
        draft.lines[whole] = inner.line
        if whole in SECTIONS:
            _take_section(draft, whole, inner)
        elif whole in TAKEN:
            TAKEN[whole].take(draft, whole, inner)
        else:
            raise draft.refuse(whole, _problem(whole), _instead(whole))


def _problem(path: str) -> str:
    if path in REFUSED:
        return REFUSED[path][0]
    section = path.rpartition(".")[0]
    known = [one.rpartition(".")[2] for one in (*TAKEN, *SECTIONS) if one.rpartition(".")[0] == section]
    return f"no key of a deployment config; {section or 'the file'} has {', '.join(known)}"


def _instead(path: str) -> str:
    return REFUSED[path][1] if path in REFUSED else "remove it; docs/deploy.md lists the keys"
