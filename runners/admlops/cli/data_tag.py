"""`admlops data tag`: which samples are at night, at an intersection, dense: by rules that are data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.data_opening import find_root, open_root, opening_options, rules_option
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT, check_out, open_out, require_out

if TYPE_CHECKING:
    from admlops.curation.tags import Rules, Tagged
    from admlops.datasets.base import Dataset

TAGS_SCHEMA = 1


@click.command(short_help="Tag samples by rules: night, turning, dense, …")
@click.argument("root", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@opening_options
@rules_option
@click.option("--columns", "shows_columns", is_flag=True, help="Show the columns that conditions are written in.")
@click.option("--out", type=OUT_FILE, metavar="FILE", help="Write the tags with the tokens of their samples (JSON).")
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tag(
    root: Path | None,
    version: str | None,
    kind: str | None,
    rules: Path | None,
    shows_columns: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Count the samples of DATA that each tag holds, by the built-in rules and those of --rules.

    A rule is a condition in SQL over the columns of a sample, such as speed < 0.2 or crossing_m < 10. The data set is
    only read. The same conditions choose samples in --where of run, evaluate and data stats.

    \b
    Example:
      admlops data tag /workspace/nuscenes --rules mine.toml --out tags.json
      admlops data tag --columns
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.tables import print_table
    from admlops.core.types import Planned
    from admlops.curation.sample_tables import SampleTables
    from admlops.curation.tags import read_rules, tag_samples

    check_out(out, as_json=as_json)
    read = read_rules(rules)
    if shows_columns:
        _print_columns(as_json=as_json)
        return
    opened = open_root(find_root(root, kind), version, kind)
    if dry_run:
        show_plan([] if out is None else [Planned(action="write", target=str(out))], as_json=as_json)
        return
    if out is not None:
        require_out(out)
    tagged = tag_samples(SampleTables(opened), read)
    if out is not None:
        _write(out, opened, read, tagged)
    if as_json:
        click.echo(json.dumps(_to_json(opened, read, tagged, tokens=False), indent=2))
        return
    if out == STANDARD_OUTPUT:
        return
    rows = [
        (
            one.rule.name,
            *(("-", "-") if one.reason else (str(len(one.samples)), str(one.scenes))),
            one.rule.condition.text,
        )
        for one in tagged
    ]
    note(f"{opened.root / opened.version} ({opened.kind})")
    print_table(("tag", "samples", "scenes", "where"), rows)
    reasons: dict[str, list[str]] = {}
    for one in tagged:
        if one.reason is not None:
            reasons.setdefault(one.reason, []).append(one.rule.name)
    for reason, names in reasons.items():
        note(f"not told: {', '.join(names)}: {reason}")
    if out is not None:
        note(f"written to {out}")


def _print_columns(*, as_json: bool) -> None:
    from dataclasses import asdict

    from admlops.cli.tables import print_table
    from admlops.curation.columns import COLUMNS

    if as_json:
        click.echo(json.dumps([asdict(column) for column in COLUMNS], indent=2, ensure_ascii=False))
        return
    rows = [(one.name, one.kind.lower(), one.unit, one.source, one.says) for one in COLUMNS]
    print_table(("column", "type", "unit", "of", "what it is"), rows)


def _write(target: Path, data: Dataset, rules: Rules, tagged: Sequence[Tagged]) -> None:
    from admlops.core.storage import write_atomically

    content = json.dumps(_to_json(data, rules, tagged, tokens=True), indent=1) + "\n"
    with open_out(target) as path:
        write_atomically(path, content.encode())


def _to_json(data: Dataset, rules: Rules, tagged: Sequence[Tagged], *, tokens: bool) -> dict[str, Any]:
    tags = {}
    for one in tagged:
        facts: dict[str, Any] = {"where": one.rule.condition.text, "about": one.rule.about}
        if one.reason is not None:
            facts["reason"] = one.reason
        else:
            facts |= {"samples": len(one.samples), "scenes": one.scenes}
        if tokens:
            facts["tokens"] = list(one.samples)
        tags[one.rule.name] = facts
    facts_of_set = {"data": str(data.root), "version": data.version, "kind": data.kind, "synthetic": data.is_synthetic}
    return {"schema": TAGS_SCHEMA, **facts_of_set, "rules_sha256": rules.sha256, "tags": tags}
