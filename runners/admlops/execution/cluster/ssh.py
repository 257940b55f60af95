"""Calling the agent on a machine: here as a child process, elsewhere by the `ssh` program over one shared connection.

ssh uses the person's own configuration, keys and known hosts. It never prompts: a host that wants a password fails and
says so.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from admlops.core import errors
from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.processes import Completed, run
from admlops.execution.cluster.agent import ANSWER, START_S

CALL_S = START_S + 60.0
MODULE = "admlops.execution.cluster.agent"
OPTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ControlMaster=auto"),
    *("-o", "ControlPersist=60"),
    *("-o", "ForwardAgent=no"),
    *("-o", "ClearAllForwardings=yes"),
)


class Machines:
    """Calls agents; as a context manager it ends the connections.

    Args:
        config: an ssh configuration file in place of the person's own.
    """

    def __init__(self, config: Path | None = None) -> None:
        self._config = () if config is None else ("-F", str(config))
        self._sockets = Path(tempfile.mkdtemp(prefix="adm-"))  # short: a socket's path has 107 characters at most
        self._targets: set[tuple[str, int | None]] = set()

    def __enter__(self) -> Machines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for target, port in self._targets:
            with suppress(EnvError):
                run([*self._ssh(target, port), "-O", "exit", target], timeout_s=10)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def call(
        self,
        operation: str,
        facts: Mapping[str, Any],
        *,
        target: str,
        port: int | None = None,
        checkout: str,
        variables: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Carry out an operation of the agent on a machine; `target` is ssh's, empty for this one.

        Raises:
            AdmlopsError: the machine cannot be reached, or what the operation raised; the message names the machine.
        """
        content = json.dumps(dict(facts)).encode()
        where = target or "this machine"
        if not target:
            done = run(
                [sys.executable, "-m", MODULE, operation], timeout_s=CALL_S, stdin=content, variables=variables or {}
            )
        else:
            self._targets.add((target, port))
            words = [f"{name}={shlex.quote(value)}" for name, value in (variables or {}).items()]
            python = f"{checkout}/.venv/bin/python"
            command = shlex.join(["cd", checkout]) + " && exec env " + " ".join([*words, shlex.quote(python)])
            done = self._through_ssh(target, port, f"{command} -m {MODULE} {operation}", content)
        answer = _find_answer(done, where, checkout)
        problem = answer.get("error")
        if problem is not None:
            kind = getattr(errors, str(problem["kind"]), EnvError)
            known = kind if issubclass(kind, AdmlopsError) and kind is not errors.MissingExtraError else EnvError
            raise known(f"{where}: {problem['message']}", hint=problem["hint"])
        return answer

    def host_name(self, target: str, port: int | None) -> str:
        """Return the name or address that ssh would connect to, by the person's configuration."""
        done = run([*self._ssh(target, port), "-G", target], timeout_s=15)
        lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        return lines.get("hostname", target.rpartition("@")[2])

    def _ssh(self, target: str, port: int | None) -> list[str]:
        given = () if port is None else ("-p", str(port))
        return ["ssh", *self._config, *OPTIONS, "-o", f"ControlPath={self._sockets}/%C", *given]

    def _through_ssh(self, target: str, port: int | None, command: str, content: bytes) -> Completed:
        # An older ssh keeps standard error open in the shared connection, which outlives this call: hence a file.
        with tempfile.NamedTemporaryFile(dir=self._sockets) as said:
            words = ["bash", "-c", 'exec "$@" 2>"$0"', said.name, *self._ssh(target, port), target, command]
            done = run(words, timeout_s=CALL_S, stdin=content)
            text = Path(said.name).read_text(encoding="utf-8", errors="replace")
        return Completed(returncode=done.returncode, stdout=done.stdout, stderr=text)


def _find_answer(done: Completed, where: str, checkout: str) -> dict[str, Any]:
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith(ANSWER)), None)
    if line is not None:
        answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
        return answer
    said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[-3:]) or f"exit code {done.returncode}"
    if done.returncode == 255:
        raise EnvError(
            f"{where} cannot be reached by ssh: {said}", hint=f"ssh {where} true   # must work without a word"
        )
    if "No such file" in said or done.returncode == 127:
        raise EnvError(
            f"{where} has no admlops in {checkout}: {said}",
            hint="name its place: a line of the host file such as  HOST checkout=/workspace/admlops",
        )
    raise EnvError(f"the agent on {where} failed: {said}", hint="make bootstrap   # there, at the driver's commit")
