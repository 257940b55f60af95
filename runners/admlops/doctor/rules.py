"""The rules as data: read from `rules/*.toml`, one file a family. docs/doctor.md explains each key."""

from __future__ import annotations

import re
import tomllib
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from msgspec import Struct, convert

from admlops.doctor.probes import PROBES

Phase = Literal["install", "compile", "start", "run"]
PHASES: tuple[Phase, ...] = get_args(Phase)
RULES_FOLDER = Path(__file__).with_name("rules")


class Rule(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One known failure."""

    id: str
    phases: tuple[Phase, ...]
    cause: str
    hint: str
    says: str | None = None
    raised: str | None = None
    context: str | None = None
    within: str | None = None
    unless: str | None = None
    specificity: Literal[1, 2, 3, 4] = 2
    signal: str | None = None
    warning: bool = False
    probe: str | None = None
    wants: str | None = None
    thread: str = ""

    def __post_init__(self) -> None:
        if (self.says is None) == (self.signal is None):
            raise ValueError(f"{self.id}: exactly one of says and signal is needed")
        if self.probe is not None and self.probe not in PROBES:
            raise ValueError(f"{self.id}: {self.probe} is no probe; there are {', '.join(PROBES)}")
        if (self.probe == "version") != (self.wants is not None):
            raise ValueError(f"{self.id}: the probe version and the key wants go together")

    @cached_property
    def says_pattern(self) -> re.Pattern[str]:
        """Return what the message says; one that matches nothing for a rule that goes by its signal."""
        return compile_pattern(r"(?!)" if self.says is None else self.says)

    @cached_property
    def raised_pattern(self) -> re.Pattern[str] | None:
        return None if self.raised is None else compile_pattern(self.raised)

    @cached_property
    def context_pattern(self) -> re.Pattern[str] | None:
        return None if self.context is None else compile_pattern(self.context)

    @cached_property
    def within_pattern(self) -> re.Pattern[str] | None:
        return None if self.within is None else compile_pattern(self.within)

    @cached_property
    def unless_pattern(self) -> re.Pattern[str] | None:
        return None if self.unless is None else compile_pattern(self.unless)


@cache
def load_rules() -> tuple[Rule, ...]:
    """All rules, by file and in its order.

    Raises:
        ValueError: a rule is not whole, or two have the same name and another cause.
    """
    rules = tuple(rule for path in sorted(RULES_FOLDER.glob("*.toml")) for rule in _read(path))
    causes: dict[str, str] = {}
    for rule in rules:
        if causes.setdefault(rule.id, rule.cause) != rule.cause:
            raise ValueError(f"{rule.id}: one name, two causes")
    return rules


def _read(path: Path) -> list[Rule]:
    """A file's rules. `phases` at its top holds for those that name none; `or` lists other forms of a failure."""
    family = tomllib.loads(path.read_text())
    rules: list[dict[str, Any]] = []
    for one in family["rule"]:
        others = one.pop("or", [])
        rule = {"phases": family["phases"], **one}
        if "says" in rule or "signal" in rule:
            rules.append(rule)
        shared = {key: value for key, value in rule.items() if key not in _FORM}
        forms = ({**shared, **other} for other in others)
        rules += [{key: value for key, value in form.items() if (key, value) != ("raised", "")} for form in forms]
    return convert(rules, list[Rule])


_FORM = {"says", "context", "within", "signal", "warning"}
"""Keys that belong to one form of a failure; another form takes over the rest, and `raised = ""` drops that."""


@cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A rule's expression: a space stands for any white space, as terminals wrap messages; ^ and $ are a line's."""
    return re.compile(
        re.sub(r" +([?*+]?)", lambda one: r"\s*" if one[1] in {"?", "*"} else r"\s+", pattern), re.MULTILINE
    )
