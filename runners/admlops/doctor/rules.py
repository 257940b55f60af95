"""The rules as data: read from `rules.toml`, which explains each key."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct, convert

from admlops.doctor.probes import PROBES

Phase = Literal["install", "compile", "start", "run"]
PHASES: tuple[Phase, ...] = get_args(Phase)
RULES_FILE = Path(__file__).with_name("rules.toml")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One known failure; the keys are explained at the top of `rules.toml`."""

    id: str
    phases: tuple[Phase, ...]
    cause: str
    hint: str
    symptom: str | None = None
    signal: str | None = None
    probe: str | None = None
    wants: str | None = None
    thread: str = ""

    def __post_init__(self) -> None:
        if (self.symptom is None) == (self.signal is None):
            raise ValueError(f"{self.id}: exactly one of symptom and signal is needed")
        if self.probe is not None and self.probe not in PROBES:
            raise ValueError(f"{self.id}: {self.probe} is no probe; there are {', '.join(PROBES)}")
        if (self.probe == "version") != (self.wants is not None):
            raise ValueError(f"{self.id}: the probe version and the key wants go together")

    @property
    def pattern(self) -> re.Pattern[str]:
        """The symptom, compiled; one that matches nothing for a rule that goes by its signal."""
        return _compile(self.symptom or r"(?!)")


@cache
def load_rules() -> tuple[Rule, ...]:
    """All rules in their order, which decides where several fit."""
    return convert(tomllib.loads(RULES_FILE.read_text())["rule"], tuple[Rule, ...])


@cache
def _compile(symptom: str) -> re.Pattern[str]:
    return re.compile(symptom, re.IGNORECASE)
