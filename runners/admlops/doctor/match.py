"""Which rule knows a failure: the most specific one whose words stand in what was raised or said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from admlops.doctor import wording
from admlops.doctor.failures import Failure, Statement, is_loud, loud_lines, shape_of
from admlops.doctor.probes import PROBES, REFUTED, Site
from admlops.doctor.rules import PHASES, Phase, Rule

CONTEXT_BEFORE = 300
CONTEXT_AFTER = 30
WITHIN_BEFORE = 15
PHASE_BEFORE = 120
PHASE_AFTER = 20
"""This many lines after a failure help to tell what the program was doing."""
LEFT_BEHIND = {1: 6, 2: 6, 3: 60, 4: 60}
"""By specificity: an error that no rule knows, more than this many lines after the rule's, is the failure itself."""
WARNINGS_FROM = 6_000
"""This many lines from the end are searched for warnings, where nothing failed."""
WARNING_LINES = 4
"""How many lines a warning may have."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A rule that knows a failure, and where."""

    rule: Rule
    found: re.Match[str] | None
    lines: tuple[int, ...]
    seen: str = ""
    """What a probe saw."""


class Matcher:
    """The rules, asked about one log; with `phases` only theirs, without them each failure's own words decide."""

    def __init__(
        self, rules: Iterable[Rule], lines: Sequence[str], *, phases: frozenset[Phase] | None, site: Site | None
    ) -> None:
        self.rules = tuple(rule for rule in rules if phases is None or phases.intersection(rule.phases))
        self.phases = phases
        self.lines = lines
        self.site = site
        self._spoken = tuple(rule for rule in self.rules if rule.says is not None and rule.raised is None)

    @cached_property
    def loud(self) -> list[bool]:
        """For each line, whether it may say that something failed."""
        return loud_lines(self.lines)

    @cached_property
    def known(self) -> list[bool]:
        """For each line, whether a rule knows its words; a warning's do not count."""
        answers: dict[str, bool] = {}
        known = [False] * len(self.lines)
        for at, loud in enumerate(self.loud):
            line = self.lines[at]
            if not loud or wording.NOT_A_FAILURE.search(line) or wording.WARNING.search(line):
                continue
            key = shape_of(line)
            if key not in answers:
                answers[key] = any(self._begins(rule, line) for rule in self._spoken if not rule.warning)
            known[at] = answers[key]
        return known

    @staticmethod
    def _begins(rule: Rule, line: str) -> bool:
        return rule.says_pattern.search(line) is not None

    def hit(self, failure: Failure, until: int) -> Hit | None:
        """Return the most specific rule that knows a failure, None if none does. `until`: the next failure's line."""
        phases = self.phases or self._phases_of(failure, until)
        rules = [rule for rule in self.rules if phases.intersection(rule.phases)]
        for group in _in_order(failure):
            hits = [hit for one in group for hit in self._hits(one, failure, rules)]
            hits = [hit for hit in hits if not self._left_behind(hit, group)]
            for hit in sorted(hits, key=lambda one: -one.rule.specificity):
                probed = self._probe(hit)
                if probed is not None:
                    return probed
        return None

    def warning(self) -> Hit | None:
        """The last warning of a log that a rule knows as a failure to come."""
        rules = [rule for rule in self.rules if rule.warning]
        for at in range(len(self.lines) - 1, max(-1, len(self.lines) - WARNINGS_FROM), -1):
            for rule in rules if is_loud(self.lines[at]) else ():
                found = rule.says_pattern.search("\n".join(self.lines[at : at + WARNING_LINES]))
                if found is not None and found.start() > len(self.lines[at]):
                    continue  # it is another line's
                hit = None if found is None else self._probe(Hit(rule=rule, found=found, lines=(at,)))
                if hit is not None:
                    return hit
        return None

    def _probe(self, hit: Hit) -> Hit | None:
        """Return the hit with what its probe saw; None if it refutes the rule. Without a site nothing is asked."""
        if hit.rule.probe is None or self.site is None:
            return hit
        seen = PROBES[hit.rule.probe](self.site, hit.rule.wants)
        return None if seen == REFUTED else Hit(rule=hit.rule, found=hit.found, lines=hit.lines, seen=seen or "")

    def _phases_of(self, failure: Failure, until: int) -> frozenset[Phase]:
        first = max(0, failure.first - PHASE_BEFORE)
        around = self.lines[first : max(failure.last + 1, min(until, failure.last + PHASE_AFTER))]
        return phases_of(around, raised=any(one.kind == "raise" for one in failure.said))

    def _hits(self, one: Statement, failure: Failure, rules: Sequence[Rule]) -> Iterator[Hit]:
        named = f"{one.name}: {one.text}" if one.name else one.text
        for rule in rules:
            if rule.raised_pattern is not None:
                if not one.name or not rule.raised_pattern.fullmatch(one.name.rsplit(".", 1)[-1]):
                    continue
                found = rule.says_pattern.search(one.text)
            else:
                found = rule.says_pattern.search(named)
                if found is not None and not one.name and found.start() > len(named.split("\n", 1)[0]):
                    found = None  # it is another line's
            if found is None or not self._fits(rule, one, failure) or not self._stands_in(rule, one, failure):
                continue
            where = self._context(rule, failure)
            if where is not None:
                yield Hit(rule=rule, found=found, lines=(*where, *_lines_of(one, found)))

    def _fits(self, rule: Rule, one: Statement, failure: Failure) -> bool:
        if rule.unless_pattern is None:
            return True
        own = "\n".join(self.lines[max(one.start, failure.first) : one.last + 1])
        return not rule.unless_pattern.search(f"{one.text}\n{own}")

    def _stands_in(self, rule: Rule, one: Statement, failure: Failure) -> bool:
        """Tell whether the failure itself, its traceback or a tool's lines, says what the rule wants `within` it."""
        if rule.within_pattern is None:
            return True
        first = failure.first if one.start < one.first else max(0, failure.first - WITHIN_BEFORE)
        return rule.within_pattern.search("\n".join(self.lines[first : failure.last + 1])) is not None

    def _left_behind(self, hit: Hit, group: Sequence[Statement]) -> bool:
        """Tell whether a tool reported an error that no rule knows, after the rule's words."""
        last = group[-1]
        if last.kind != "line" or self.known[last.first]:
            return False
        return last.first - hit.lines[-1] > LEFT_BEHIND[hit.rule.specificity]

    def _context(self, rule: Rule, failure: Failure) -> tuple[int, ...] | None:
        """Return the line that gives a rule its context: empty if the rule wants none, None if it is missing."""
        if rule.context_pattern is None:
            return ()
        first = max(0, failure.first - CONTEXT_BEFORE)
        last = min(len(self.lines), failure.last + CONTEXT_AFTER + 1)
        text = "\n".join(self.lines[first:last])
        found = rule.context_pattern.search(text)
        return None if found is None else (first + text.count("\n", 0, found.start()),)


def _lines_of(one: Statement, found: re.Match[str]) -> tuple[int, ...]:
    """The lines of a log that the words stand on: the statement's first, and that of the words."""
    at = one.first + found.string.count("\n", 0, found.start())
    return (one.first,) if at == one.first else (one.first, min(at, one.last))


def _in_order(failure: Failure) -> Iterator[list[Statement]]:
    """Yield what was said of a failure, the most telling first; of a group the most specific rule counts.

    Of exceptions raised one from another the first is the cause, where Python says so; one that came up while another
    was handled is the failure itself, and the other counts only where its words are in it. Of a tool's errors the first
    of the most specific ones counts. What a launcher says counts where there is nothing else.
    """
    raised = [one for one in failure.said if one.kind == "raise"]
    if raised:
        last = raised[-1]
        if last.link == "cause":
            yield raised
            return
        words = last.text.split("\n", 1)[0]
        again = [one for one in raised[:-1] if one.text and one.text.split("\n", 1)[0][:80] in words]
        yield [last]
        yield again[::-1]
        if not last.text.strip() and last.name.endswith("SystemExit"):
            yield raised[:-1][::-1]
        return
    said = [one for one in failure.said if one.kind == "line"]
    yield said
    others = [one for one in failure.said if one.kind in {"wrapper", "aftermath"}]
    if not said:
        yield others


def phases_of(lines: Sequence[str], *, raised: bool) -> frozenset[Phase]:
    """Return what a program was doing, by its words: all that it may have been. `raised`: it was Python that failed."""
    text = "\n".join(lines)
    if wording.INSTALLER.search(text) and not wording.RUNNING.search(text):
        return frozenset({"install", "compile"})
    if not raised:
        progress = list(wording.PROGRESS.finditer(text))
        trains = bool(progress) and not wording.BUILDING.search(text, progress[-1].end())
        return frozenset({"start", "run"} if trains else PHASES)
    phases: set[Phase] = set()
    if wording.BUILDING.search(text) or wording.INSTALLING.search(text):
        phases |= {"install", "compile"}
    if wording.RUNNING.search(text) or wording.ANY_FRAME.search(text):
        phases |= {"start", "run"}
    return frozenset(phases or PHASES)
