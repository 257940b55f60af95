"""From what a failed program said to what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from admlops.doctor.probes import PROBES, REFUTED, Site
from admlops.doctor.rules import PHASES, Phase, Rule, load_rules


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A failure that is known: `cause` says what happened, `hint` is the next command to type."""

    rule: str
    cause: str
    hint: str
    thread: str = ""
    evidence: str = ""
    """The line that gave it away; empty where a signal did."""


def diagnose(
    said: str,
    *,
    phases: Iterable[Phase] = PHASES,
    signal: str | None = None,
    model: str | None = None,
    site: Site | None = None,
) -> Diagnosis | None:
    """What a failure means, by the first rule that fits; None for one that is not known.

    Args:
        said: all that the program said, or the end of it.
        phases: what the program was doing; only their rules are looked at.
        signal: what killed it, such as SIGBUS.
        model: whose it was; takes MODEL's place in the hint.
        site: where it happened, for the rules that ask the environment or the machine.
    """
    wanted = set(phases)
    for rule in load_rules():
        if not wanted.intersection(rule.phases):
            continue
        found = rule.pattern.search(said)
        if found is None and (rule.signal is None or rule.signal != signal):
            continue
        seen = None if rule.probe is None else PROBES[rule.probe](site or Site(), rule.wants)
        if seen != REFUTED:
            return _describe(rule, said, found, seen, model)
    return None


def _describe(rule: Rule, said: str, found: re.Match[str] | None, seen: str | None, model: str | None) -> Diagnosis:
    groups = {} if found is None else {name: text or "" for name, text in found.groupdict().items()}
    cause = rule.cause.format(**groups)
    hint = rule.hint.format(**groups)
    return Diagnosis(
        rule=rule.id,
        cause=f"{cause} ({seen})" if seen else cause,
        hint=hint if model is None else re.sub(r"\bMODEL\b", model, hint),
        thread=rule.thread,
        evidence="" if found is None else _line_around(said, found),
    )


def _line_around(said: str, found: re.Match[str]) -> str:
    begin = said.rfind("\n", 0, found.start()) + 1
    end = said.find("\n", found.end())
    return said[begin : end if end >= 0 else len(said)].strip()
