"""`admlops gate`: whether a candidate may take a baseline's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.out_paths import OUT_FILE

if TYPE_CHECKING:
    from admlops.pipeline.gate import Verdict


@click.command(
    short_help="Say whether a candidate may take a baseline's place.",
    epilog="Example: admlops gate main candidate --policy gate.toml --markdown gate.md",
)
@click.argument("baseline", shell_complete=complete_runs)
@click.argument("candidate", shell_complete=complete_runs)
@click.option("--policy", type=click.Path(path_type=Path), required=True, help="The limits, in TOML: docs/gate.md.")
@click.option("--markdown", type=OUT_FILE, help="Write the verdict for a pull request.")
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gate(baseline: str, candidate: str, policy: Path, markdown: Path | None, dry_run: bool, as_json: bool) -> None:
    """Compare the evaluated run CANDIDATE with BASELINE, over the same samples, by the limits of a policy.

    Metrics are judged by the 95 % interval of the paired bootstrap over scenes; with fewer than ten scenes by their
    values, which the verdict says.

    \b
    Exit code: 0  passed
               1  a limit is broken, or could not be judged and the policy says that this fails
               2  the policy or a run is wrong
    """
    from admlops.core.errors import DifferencesError
    from admlops.core.paths import find_layout
    from admlops.core.storage import write_atomically
    from admlops.pipeline.gate import judge, to_markdown
    from admlops.pipeline.gate_policy import read_policy
    from admlops.results.runs import find_run

    layout = find_layout()
    limits = read_policy(policy)
    runs = find_run(layout, baseline), find_run(layout, candidate)
    if dry_run:
        _plan(policy, markdown, as_json)
        return
    verdict = judge(*runs, limits)
    if markdown is not None:
        write_atomically(markdown, to_markdown(verdict).encode())
    if as_json:
        click.echo(json.dumps(verdict.to_json(), indent=2))
    else:
        _print(verdict)
    if not verdict.passed:
        bad = [one for one in verdict.judgements if one.outcome != "passed"]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DifferencesError(
            f"{verdict.candidate} does not pass: {bad[0].what}{more}",
            hint=f"admlops results compare {verdict.baseline} {verdict.candidate}",
        )


def _plan(policy: Path, markdown: Path | None, as_json: bool) -> None:
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned

    steps = [Planned(action="judge", target=str(policy), detail="the limits of the policy")]
    if markdown is not None:
        steps.append(Planned(action="write", target=str(markdown)))
    show_plan(steps, as_json=as_json)


def _print(verdict: Verdict) -> None:
    from admlops.cli.tables import print_table
    from admlops.pipeline.gate import spell

    rows = [
        (one.outcome, one.what, spell(one.baseline, one.unit), spell(one.candidate, one.unit), one.limit, one.reason)
        for one in verdict.judgements
    ]
    print_table(("outcome", "what", "baseline", "candidate", "limit", "why"), rows)
    note(f"{verdict.candidate} {'passed' if verdict.passed else 'failed'} against {verdict.baseline}")
