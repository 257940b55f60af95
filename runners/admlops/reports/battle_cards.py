"""The cards of battles: who won by which metric, how sure that is, and what speed, memory and energy say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from admlops.reports.page import number, quantity

CHART_WIDTH, CHART_HEIGHT = 420, 64
EDGE = 24
MAX_CARDS = 10
"""Battles that have a card; the pairs of many models grow with the square of their number, and the rest is a table."""
TONES = {"winner": "good", "tie": "", "not decided": "warn", "not comparable": "warn"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One question of a battle: what was asked, both values with their unit, the verdict and its reason."""

    question: str
    a: str
    b: str
    unit: str
    outcome: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BattleCard:
    """One pair. `tone` is the verdict's colour; `chart` shows the difference with its interval, if there is one."""

    first: str
    second: str
    outcome: str
    tone: str
    metric: str
    protocol: str
    n: int | None
    named: str
    reason: str
    chart: Markup
    lines: tuple[Line, ...]


def make_cards(battles: Sequence[Mapping[str, Any]]) -> list[BattleCard]:
    """Make a card of each battle of a `comparison_summary.json`."""
    return [_make_card(one) for one in battles]


def _make_card(battle: Mapping[str, Any]) -> BattleCard:
    primary = battle["primary"]
    first, second = battle["models"]
    return BattleCard(
        first=first,
        second=second,
        outcome=_outcome(battle),
        tone=TONES.get(battle["verdict"], ""),
        metric=primary["metric"],
        protocol=primary["protocol"],
        n=primary["n"],
        named=battle["named"],
        reason=battle["reason"],
        chart=_draw(primary, first, second),
        lines=tuple(_line(one) for one in (primary, *battle["further"])),
    )


def _line(one: Mapping[str, Any]) -> Line:
    spell = number if one["question"] == "score" else quantity
    title = one["metric"] if one["question"] == "score" else one["question"]
    return Line(
        question=title or "score",
        a="n/a" if one["a"] is None else spell(one["a"]),
        b="n/a" if one["b"] is None else spell(one["b"]),
        unit=one["unit"],
        outcome=_outcome(one),
        reason=one["reason"],
    )


def _outcome(one: Mapping[str, Any]) -> str:
    return f"{one['winner']} wins" if one["verdict"] == "winner" else str(one["verdict"])


def _draw(primary: Mapping[str, Any], first: str, second: str) -> Markup:
    """The interval of the difference on a line with 0 in the middle: whatever holds 0 is a tie."""
    if primary["interval"] is None or primary["difference"] is None:
        return Markup()
    low, high = primary["interval"]
    reach = max(abs(low), abs(high), abs(primary["difference"]), 1e-9) * 1.1
    middle, scale = CHART_WIDTH / 2, (CHART_WIDTH / 2 - EDGE) / reach

    def at(value: float) -> str:
        return f"{middle + value * scale:.1f}"

    better = (first, second) if primary["higher_is_better"] else (second, first)
    label = f"{primary['metric']}: {second} minus {first} {primary['difference']:+.3f}, 95 % {low:+.3f} to {high:+.3f}"
    return Markup(  # noqa: S704 - what is not ours is escaped
        f'<svg class="interval" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<path class="axis" d="M{EDGE} 26H{CHART_WIDTH - EDGE}M{middle} 12V40"/>'
        f'<path class="range" d="M{at(low)} 26H{at(high)}"/>'
        f'<path class="range" d="M{at(low)} 20V32M{at(high)} 20V32"/>'
        f'<circle cx="{at(primary["difference"])}" cy="26" r="5"/>'
        f'<text x="{EDGE}" y="58">{escape(better[0])} better</text>'
        f'<text x="{middle}" y="58" text-anchor="middle">0</text>'
        f'<text x="{CHART_WIDTH - EDGE}" y="58" text-anchor="end">{escape(better[1])} better</text></svg>'
    )
