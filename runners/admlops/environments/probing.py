"""Tries whether a finished environment works here: its imports, its kernels, its compiled operations."""

from __future__ import annotations

from typing import Any, ClassVar

from admlops.core.errors import EnvError
from admlops.environments.inventory import InstalledEnvironment
from admlops.environments.prefix import Environment


class ProbeFailedError(EnvError):
    """An environment does not work on this machine: the command was right, and its answer is no."""

    exit_code: ClassVar[int] = 1


def probe(one: InstalledEnvironment) -> list[dict[str, Any]]:
    """The checks of the smoke test, made now: {"check", "ok", "seconds", "said"}.

    Raises:
        EnvError: the environment is not ready.
        ProbeFailedError: a check failed; says what is known to mend it.
    """
    from admlops.environments.install.ops import smoke_test

    environment = None if one.digest is None else Environment.load(one.prefix, digest=one.digest)
    if environment is None or one.spec is None:
        raise EnvError(
            f"{one.prefix.name} is {one.state}, or no lock asks for it", hint="admlops env list   # says what is ready"
        )
    try:
        return smoke_test(
            environment.python,
            variables=environment.variables,
            modules=one.spec.smoke,
            compiled=one.spec.compiled,
            device=environment.device,
            name=one.name,
            model=one.spec.model,
        )
    except EnvError as error:
        raise ProbeFailedError(error.message, hint=error.hint) from error
