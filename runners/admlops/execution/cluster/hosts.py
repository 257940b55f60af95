"""The machines that a person names: words of a command line, or lines of a host file.

A line is `[USER@]HOST[:PORT]` and options such as `address=10.0.0.2`, as in MPI's host files; `#` begins a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import UsageError

HOST = re.compile(r"(?:(?P<user>[A-Za-z0-9_.\-]+)@)?(?P<name>[A-Za-z0-9][A-Za-z0-9_.\-]*)(?::(?P<port>\d{1,5}))?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}")
PATHS = ("checkout", "repository", "environments")
COUNTS = ("gpus", "cpus")
KEYS = ("name", "address", *PATHS, *COUNTS)
EXAMPLE = "root@10.0.0.2:22 address=10.0.0.2 checkout=/workspace/admlops"


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine to start a node on.

    `target` is what ssh gets, `port` its port (None: ssh's own choice). `name` is the node's. The others are None where
    they are to be found out: `address` in the cluster, `checkout` of admlops, its `repository` and `environments`
    folders, how many `gpus` and `cpus` Ray may give away.
    """

    target: str
    name: str
    port: int | None = None
    address: str | None = None
    checkout: str | None = None
    repository: str | None = None
    environments: str | None = None
    gpus: int | None = None
    cpus: int | None = None


def read_hosts(words: Sequence[str]) -> list[Host]:
    """Return the machines that the words name; a word that is the path of a file stands for its lines.

    Raises:
        UsageError: a word or a line is none of these, or two nodes would have one name.
    """
    hosts: list[Host] = []
    for word in words:
        path = Path(word)
        if path.is_file():
            hosts += _read_file(path)
        else:
            hosts.append(_parse(word.split(), where=repr(word)))
    names = [host.name for host in hosts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two machines would be called {twice}", hint=f"give one a name: {twice} name={twice}-2")
    return hosts


def _read_file(path: Path) -> Iterator[Host]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the host file {path} cannot be read: {error}", hint=f"a line is such as: {EXAMPLE}"
        ) from error
    found = False
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if words:
            found = True
            yield _parse(words, where=f"{path}, line {number}")
    if not found:
        raise UsageError(f"the host file {path} names no machine", hint=f"a line is such as: {EXAMPLE}")


def _parse(words: Sequence[str], *, where: str) -> Host:
    found = HOST.fullmatch(words[0]) if words else None
    if found is None or not 0 < int(found["port"] or 22) < 65536:
        raise UsageError(f"{where} names no machine, nor is it a file", hint=f"a machine is such as: {EXAMPLE}")
    options: dict[str, str] = {}
    for word in words[1:]:
        key, sign, value = word.partition("=")
        if key not in KEYS or not sign or not value:
            raise UsageError(f"{where}: {word!r} is not one of {', '.join(f'{one}=' for one in KEYS)}", hint=EXAMPLE)
        options[key] = value
    _check(options, where)
    return Host(
        target=f"{found['user']}@{found['name']}" if found["user"] else found["name"],
        name=options.pop("name", found["name"]),
        port=None if found["port"] is None else int(found["port"]),
        gpus=_count(options.pop("gpus", None)),
        cpus=_count(options.pop("cpus", None)),
        **options,
    )


def _check(options: dict[str, str], where: str) -> None:
    for key in PATHS:
        if key in options and not Path(options[key]).is_absolute():
            raise UsageError(f"{where}: {key}={options[key]} is no absolute path", hint=EXAMPLE)
    for key in COUNTS:
        if key in options and not options[key].isdigit():
            raise UsageError(f"{where}: {key}={options[key]} is no number", hint=f"{key}=2, for example")
    if "name" in options and NAME.fullmatch(options["name"]) is None:
        raise UsageError(f"{where}: name={options['name']} is no name", hint="letters, digits and . _ - are taken")


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)
