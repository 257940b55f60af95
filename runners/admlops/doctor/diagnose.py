"""Finding out what the words of a failed program mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from admlops.doctor import wording
from admlops.doctor.failures import Failure, bare, find_failures
from admlops.doctor.log import KEPT_BYTES, clean
from admlops.doctor.match import WARNING_LINES, Hit, Matcher
from admlops.doctor.probes import PROBES, REFUTED, Site
from admlops.doctor.rules import Phase, Rule, load_rules

State = Literal["known", "unknown", "none"]
QUOTED_LINES = 8
QUOTED_CHARACTERS = 300
SUSPECTED_LINES = 25
"""Where nothing is known to have failed, the words of this many last lines are examined."""
_UNNAMED = "what the message names"
_MODEL = re.compile(r"\bMODEL\b")
_WHOSE = re.compile(r"/environments/(?P<model>[A-Za-z]\w{1,40})-[\w.]{1,40}-[0-9a-f]{12}/")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A failure that is known: `cause` says what happened, `hint` is the next command to type."""

    rule: str
    cause: str
    hint: str
    thread: str = ""
    evidence: tuple[str, ...] = ()
    """The lines that gave it away; empty where a signal did."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One failure of a log: what it means, if that is known, and the lines that matter."""

    line: int
    """Where it stands, counted from 1 among the lines that were looked at."""
    quoted: tuple[str, ...]
    diagnosis: Diagnosis | None
    launcher_only: bool = False
    """The log holds only what the launcher said; the cause stands in another output."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a log says: its failures in their order. The last one counts."""

    state: State
    findings: tuple[Finding, ...] = ()
    went_on: bool = False
    """What failed was survived or mended: the log ends well."""
    warning: bool = False
    """Nothing failed; what is told is a warning of a failure to come."""

    @property
    def all_known(self) -> bool:
        """Tell whether nothing in the log is left unexplained."""
        return self.went_on or all(one.diagnosis is not None for one in self.findings)


def diagnose(
    said: str,
    *,
    phases: Iterable[Phase] | None = None,
    signal: str | None = None,
    model: str | None = None,
    site: Site | None = None,
) -> Diagnosis | None:
    """Return what the last failure in a program's words means; None for one that is not known.

    Args:
        said: all that the program said, or the end of it.
        phases: what the program was doing; only their rules are looked at. Without them its words decide.
        signal: what killed it, such as SIGBUS; counts where its words tell nothing.
        model: whose it was; takes MODEL's place in the hint.
        site: where it happened, for the rules that ask the environment or the machine; None if that was elsewhere.
    """
    told = explain(clean(said[-KEPT_BYTES:]), phases=phases, model=model, site=site)
    last = told.findings[-1] if told.findings and not told.went_on else None
    if last is not None and last.diagnosis is not None:
        return last.diagnosis
    return None if signal is None else _by_signal(signal, phases, model, site)


def explain(
    lines: Sequence[str],
    *,
    phases: Iterable[Phase] | None = None,
    model: str | None = None,
    site: Site | None = None,
) -> Explanation:
    """All failures of a log in their order, each with what it means; see `diagnose` for the arguments."""
    plain = [bare(line) for line in lines]
    matcher = Matcher(load_rules(), plain, phases=None if phases is None else frozenset(phases), site=site)
    model = model or _whose(lines)
    failures = find_failures(plain, matcher.loud, matcher.known)
    ends = [*(one.first for one in failures[1:]), len(lines)]
    findings = _distinct([_find(one, end, matcher, lines, model) for one, end in zip(failures, ends, strict=False)])
    if not findings:
        return _without_failure(matcher, lines, plain, model)
    went_on = _ends_well(plain, failures[-1])
    state: State = "none" if went_on else "unknown" if findings[-1].diagnosis is None else "known"
    return Explanation(state=state, findings=tuple(findings), went_on=went_on)


def _by_signal(signal: str, phases: Iterable[Phase] | None, model: str | None, site: Site | None) -> Diagnosis | None:
    wanted = None if phases is None else frozenset(phases)
    for rule in load_rules():
        if rule.signal != signal or (wanted is not None and not wanted.intersection(rule.phases)):
            continue
        seen = "" if rule.probe is None or site is None else PROBES[rule.probe](site, rule.wants)
        if rule.probe is None or seen != REFUTED:
            return _describe(Hit(rule=rule, found=None, lines=(), seen=seen or ""), (), model)
    return None


def _find(failure: Failure, until: int, matcher: Matcher, lines: Sequence[str], model: str | None) -> Finding:
    hit = matcher.hit(failure, until)
    return Finding(
        line=failure.first + 1,
        quoted=_quote(failure, matcher.lines, lines),
        diagnosis=None if hit is None else _describe(hit, lines, model),
        launcher_only=all(one.kind in {"wrapper", "ignored"} for one in failure.said),
    )


def _describe(hit: Hit, lines: Sequence[str], model: str | None) -> Diagnosis:
    rule = hit.rule
    groups: defaultdict[str, str] = defaultdict(lambda: _UNNAMED)
    if hit.found is not None:
        given = [text.strip() for text in hit.found.groupdict().values() if text]
        groups.update({name: text for name, text in hit.found.groupdict().items() if text})
        for name in _names(rule):
            groups[name] = groups[name] if name in groups else (given[0] if given else _UNNAMED)
    cause = rule.cause.format_map(groups)
    return Diagnosis(
        rule=rule.id,
        cause=f"{cause} ({hit.seen})" if hit.seen else cause,
        hint=_for_model(rule.hint.format_map(groups), model),
        thread=rule.thread,
        evidence=tuple(dict.fromkeys(_cut(lines[at]) for at in sorted(hit.lines))),
    )


def _names(rule: Rule) -> list[str]:
    return re.findall(r"\{(\w+)\}", f"{rule.cause} {rule.hint}")


def _for_model(hint: str, model: str | None) -> str:
    if not _MODEL.search(hint):
        return hint
    if model is not None:
        return _MODEL.sub(model, hint)
    return f"{hint}{';' if '#' in hint else '   #'} MODEL: a name from `admlops env list`"


def _whose(lines: Sequence[str]) -> str | None:
    """The model whose environment the last lines come from; None if they do not say."""
    for line in reversed(lines[-2_000:]):
        found = _WHOSE.search(line)
        if found is not None:
            return found["model"]
    return None


def _quote(failure: Failure, plain: Sequence[str], lines: Sequence[str]) -> tuple[str, ...]:
    """The lines that matter: an exception with the place that raised it, or what tools said."""
    raised = [one for one in failure.said if one.kind == "raise"]
    if raised:
        last = raised[-1]
        frames = [at for at in range(last.start, last.first) if wording.FRAME.match(plain[at])]
        wanted = [*range(frames[-1], last.first)][:3] if frames else []
        wanted += range(last.first, last.last + 1)
    else:
        wanted = [at for one in failure.main for at in range(one.first, one.last + 1)]
    return tuple(_cut(lines[at]) for at in wanted[:QUOTED_LINES] if lines[at].strip())


def _cut(line: str) -> str:
    line = line.strip()
    return line if len(line) <= QUOTED_CHARACTERS else f"{line[:QUOTED_CHARACTERS]}…"


def _distinct(findings: list[Finding]) -> list[Finding]:
    """Each failure once, where it last happened: ranks say the same, and a build tries again."""
    last: dict[object, Finding] = {}
    for one in findings:
        key = one.quoted[-1:] if one.diagnosis is None else one.diagnosis.rule
        last.pop(key, None)
        last[key] = one
    return list(last.values())


def _ends_well(plain: Sequence[str], failure: Failure) -> bool:
    ends = [at for at, line in enumerate(plain) if line][-3:]
    if len(ends) == 3 and ends[0] > failure.last and all(wording.PROGRESS.search(plain[at]) for at in ends):
        return True
    if any(one.kind == "raise" and one.traced for one in failure.said):
        return False
    fine = [at for at in ends if at > failure.last and wording.SUCCESS.search(plain[at])]
    return bool(fine) and not any(_is_faint(plain[at]) for at in ends if at > fine[-1])


def _without_failure(matcher: Matcher, lines: Sequence[str], plain: Sequence[str], model: str | None) -> Explanation:
    """Explain a log in which no failure was found: nothing failed only if the log's end says so."""
    faint = [at for at in _last(plain, SUSPECTED_LINES) if _is_faint(plain[at])]
    hit = matcher.warning()
    if hit is not None and max(faint, default=0) <= hit.lines[-1] + WARNING_LINES:
        at = hit.lines[-1]
        found = Finding(line=at + 1, quoted=(_cut(lines[at]),), diagnosis=_describe(hit, lines, model))
        return Explanation(state="known", findings=(found,), warning=True)
    ends = _last(plain, QUOTED_LINES)
    if not ends or _went_well(plain, ends, faint):
        return Explanation(state="none")
    first = min(faint, default=ends[0])
    quoted = tuple(_cut(lines[at]) for at in range(first, ends[-1] + 1) if plain[at])[:QUOTED_LINES]
    return Explanation(state="unknown", findings=(Finding(line=first + 1, quoted=quoted, diagnosis=None),))


def _went_well(plain: Sequence[str], ends: Sequence[int], faint: Sequence[int]) -> bool:
    """Tell whether the last lines of a log say that all is well; `faint` are those that sound like a failure."""
    last = plain[ends[-1]]
    if any(wording.SUCCESS.search(plain[at]) and at > max(faint, default=-1) for at in ends[-3:]):
        return True
    if wording.PROGRESS.search(last) is not None:
        return True
    bad = bool(faint) or _is_faint(wording.LEVEL.sub("", last))  # whatever the level of the last words
    return not bad and _reads_well(last)


def _last(plain: Sequence[str], count: int) -> list[int]:
    """The last lines that are not empty."""
    return [at for at, line in enumerate(plain) if line][-count:]


def _reads_well(line: str) -> bool:
    if wording.WELL.search(line) is not None:
        return True
    return wording.WARNING.search(line) is not None and wording.FAINT.search(line) is None


def _is_faint(line: str) -> bool:
    """Tell whether a line sounds like a failure, though no tool says so in the usual way."""
    survived = wording.NOT_A_FAILURE.search(line) or wording.WARNING.search(line)
    return wording.FAINT.search(line) is not None and not survived
