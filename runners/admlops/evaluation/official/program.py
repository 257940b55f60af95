"""The programs in envs/official: each runs in an environment of its own, reads files and answers with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run


def ask_program(
    what: str,
    command: Sequence[str | Path],
    *,
    result: Path,
    variables: Mapping[str, str | None],
    timeout_s: float,
    advice: str = "",
) -> bytes:
    """Run `command --out result` and return what it wrote there.

    Args:
        what: what an error calls the program.
        variables: of the environment it runs in.
        advice: what to check first if it fails.

    Raises:
        EnvError: it failed; the message ends with what it said last.
    """
    result.unlink(missing_ok=True)  # of an earlier evaluation, so that a failure leaves no old answer behind
    whole = [*command, "--out", result]
    completed = run(whole, variables=variables, timeout_s=timeout_s)
    if completed.returncode != 0:
        said = completed.stderr.strip().splitlines()
        raise EnvError(
            f"{what} failed ({completed.returncode}): {said[-1] if said else 'no message'}",
            hint=f"{advice}to see all of it: " + " ".join(str(argument) for argument in whole),
        )
    return result.read_bytes()
