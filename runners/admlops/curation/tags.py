"""Tags of samples: rules as data, each a name and a condition over the columns of a sample."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from admlops.core.errors import UsageError
from admlops.curation.expression import Condition, read_condition

if TYPE_CHECKING:
    from admlops.curation.sample_tables import SampleTables

TAG_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
BUILT_IN = "rules.toml"
KEYS = {"about", "where"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One tag: what it means, and the condition where a sample has it."""

    name: str
    about: str
    condition: Condition


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules in force, the built-in ones first. `sha256` is over their names and conditions."""

    by_name: Mapping[str, Rule]
    sha256: str

    @property
    def conditions(self) -> dict[str, Condition]:
        """The conditions by tag."""
        return {name: rule.condition for name, rule in self.by_name.items()}


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """What a tag holds of a data set: tokens of samples, scene by scene; or `reason`, why it cannot be told."""

    rule: Rule
    samples: tuple[str, ...] = ()
    scenes: int = 0
    reason: str | None = None


def read_rules(own: Path | None = None) -> Rules:
    """Return the built-in rules, with those of a file added or in their place.

    Raises:
        UsageError: the file cannot be read, is no TOML, or a rule in it is wrong; it names the file and the rule.
    """
    built_in = (resources.files("admlops.curation") / BUILT_IN).read_text("utf-8")
    rules = _read(built_in, BUILT_IN)
    if own is not None:
        rules |= _read(_text_of(own), str(own))
    decisive = {name: rule.condition.text for name, rule in rules.items()}
    return Rules(by_name=rules, sha256=hashlib.sha256(msgspec.json.encode(decisive, order="sorted")).hexdigest())


def tag_samples(tables: SampleTables, rules: Rules) -> list[Tagged]:
    """Find the samples of every tag; a tag whose columns the data set does not have says so.

    Raises:
        DataError: a table is missing, or is not whole.
        UsageError: a rule cannot be computed.
    """
    from admlops.curation.columns import BY_NAME

    tables.read({BY_NAME[name].source for one in rules.conditions.values() for name in one.columns})
    found = []
    for rule in rules.by_name.values():
        lacking = tables.find_lacking(rule.condition.columns)
        if lacking is not None:
            found.append(Tagged(rule=rule, reason=f"no {lacking[0]}: {lacking[1]}"))
            continue
        samples = tuple(tables.choose(rule.condition, {}))
        found.append(Tagged(rule=rule, samples=samples, scenes=tables.count(rule.condition, {})[1]))
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--rules {path} cannot be read as text: {getattr(error, 'strerror', None) or error}",
            hint=f'ls -l {path.parent}   # a rule is: [NAME] and where = "speed < 5"',
        ) from error


def _read(text: str, file: str) -> dict[str, Rule]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}", hint='a rule is: [NAME] and where = "speed < 5"') from error
    if not tables:
        raise UsageError(f"{file} holds no rule", hint='a rule is: [NAME] and where = "speed < 5"')
    return {name: _read_rule(name, value, file) for name, value in tables.items()}


def _read_rule(name: str, value: Any, file: str) -> Rule:
    where = f"{file}: rule {name}"
    if not TAG_NAME.fullmatch(name):
        raise UsageError(f"{where}: the name is not of a-z, 0-9 and _", hint="call it such as near_crossing")
    if not isinstance(value, dict) or not isinstance(value.get("where"), str):
        raise UsageError(f"{where} has no condition", hint='add: where = "speed < 5"')
    unknown = sorted(set(value) - KEYS)
    if unknown or not isinstance(value.get("about", ""), str):
        what = f"{unknown[0]} is no key of a rule" if unknown else "about is no text"
        raise UsageError(f"{where}: {what}", hint="a rule has where, and may have about, what the tag means")
    condition = read_condition(value["where"], where=where, takes_tags=False)
    return Rule(name=name, about=value.get("about", ""), condition=condition)
