"""Wrong command lines, made from click's own tree of commands: every command, every option, one mistake each.

A mistake is a typing error, a value of another type, a path with something wrong, a variable, a stream, a locale or a
signal. All else on the command line is right, so that the answer must be about the mistake.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import click
from tests.cli.command_cases import LOOKS, MARK, Case, Places, odd_variables, wrong_variables
from tests.cli.forked_command import Command, Stream

from admlops.cli.main import cli

NO_WRONG_VALUE = {(("results", "list"), name) for name in ("tags", "models", "data_words")} | {
    (("data", "link"), "name"),
    (("results", "tag"), "removed"),
    (("frontier",), "table"),
    (("data", "convert"), "camera"),
    (("cluster", "status"), "ssh_config"),
    (("cluster", "down"), "ssh_config"),
}
"""Filters, which take any word: no run may have it; names that one gives, a tag that may be there; kitti's camera;
what ssh reads, once a cluster is up."""
SECOND = {
    ("cluster", "up"): ("cannot be reached", "needs ray"),
    ("verify",): ("--engine",),
    ("export",): ("network.py",),
    ("gate",): ("cannot be read",),
    ("frontier",): ("none of these runs",),
    ("deploy",): ("cannot be read",),
    ("checkpoints", "train"): ("no training program",),
    ("train",): ("has no trainer",),
    ("results", "merge"): ("not a shard",),
    ("data", "stats"): ("no DATA was named", "there is no --against"),
    ("data", "tag"): ("no DATA was named",),
    ("results", "pull"): ("is not there",),
    ("data", "mine"): ("no list of its worst", "no boxes"),
    ("data", "import-labels"): ("no file of labels",),
}
"""What commands say first of the other words that they are given here."""


def _long(option: click.Option) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


@dataclass
class Generator:
    """Draws cases, each command and option at least once."""

    places: Places
    seed: int
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.commands = dict(_walk(cli, ()))

    def cases(self, count: int) -> list[Case]:
        """Return `count` cases: all kinds of mistakes in turn, and of each kind all commands and options in turn."""
        kinds: Sequence[Iterator[Case]] = [
            self._endless(self._values),
            self._endless(self._values),
            self._endless(self._values),
            self._endless(self._words),
            self._endless(self._variables),
            self._endless(self._streams),
            self._endless(self._signals),
        ]
        return [next(kinds[number % len(kinds)]) for number in range(count)]

    def _endless(self, make: Callable[[], list[Case]]) -> Iterator[Case]:
        while True:
            cases = make()
            self.random.shuffle(cases)
            yield from self._each_command_first(cases)

    def _each_command_first(self, cases: list[Case]) -> list[Case]:
        """A case of each command before a second one of any: chance alone leaves commands out."""
        seen: set[tuple[str, ...]] = set()
        first: list[Case] = []
        rest: list[Case] = []
        for case in cases:
            path = next((own for own in self.commands if case.command.words[: len(own)] == own), None)
            (first if path is not None and path not in seen else rest).append(case)
            seen.add(path or ())
        return first + rest

    # --- one mistake in a value

    def _values(self) -> list[Case]:
        cases = []
        for path, command in self.commands.items():
            for one in command.params:
                if isinstance(one, click.Option) and (one.is_flag or one.count):
                    cases.append(self._flag_with_value(path, command, one))
                elif one.name != "command" and (path, one.name) not in NO_WRONG_VALUE:
                    value, named = self._wrong_value(path, one)
                    cases.append(self._case(path, command, one, value, named))
        return cases

    def _flag_with_value(self, path: tuple[str, ...], command: click.Command, option: click.Option) -> Case:
        words = (*path, *self._right(command, None), f"{_long(option)}=yes")
        return Case(command=Command(words=words), mistake="a flag with a value", named=(option.opts[0],))

    def _case(
        self, path: tuple[str, ...], command: click.Command, one: click.Parameter, value: str, named: tuple[str, ...]
    ) -> Case:
        given = (one.opts[0], value) if isinstance(one, click.Option) else (value,)
        separate = ("--",) if value.startswith("-") and not isinstance(one, click.Option) else ()
        words = (*path, *self._right(command, one, (*separate, *given)))
        return Case(command=Command(words=words), mistake=f"{one.name}: {value!r}"[:80], named=named)

    def _right(self, command: click.Command, wrong: click.Parameter | None, given: tuple[str, ...] = ()) -> list[str]:
        """The other words that the command wants, with the wrong ones at their place."""
        words: list[str] = []
        last: list[str] = []
        for one in command.params:
            if one is wrong:
                (last if given[:1] == ("--",) else words).extend(given)
            elif isinstance(one, click.Argument) and (one.required or one.name in {"model_name", "names"}):
                words.append(self._right_argument(command, one))
            elif one.name == "data":
                words += ["--data", str(self.places.data)]
            elif one.required:
                words += [one.opts[0], self._right_option(one)]
        return [*words, *last]

    def _right_argument(self, command: click.Command, one: click.Parameter) -> str:
        names = {
            "root": str(self.places.data),
            "target": str(self.places.folder / "target"),
            "file": str(self.places.checkpoint),
            "command": "true",
            "name": "tiny" if command.name == "add" else "GroundPlane",
            "model_name": "VAD" if command.name == "add" else "GroundPlane",
        }
        if command.name == "battle" and one.name == "first":
            return "GroundPlane"  # a run against itself is refused before anything else is looked at
        is_run = one.name in {"run", "runs", "first", "second"} or (one.metavar or "").startswith("RUN")
        return "r" if is_run else names.get(str(one.name), "GroundPlane")

    def _right_option(self, one: click.Parameter) -> str:
        if "--to" in one.opts and one.name == "form":
            return "coco"
        if one.name in {"form", "tracker"}:
            return "jsonl" if one.name == "form" else "mlflow"
        if isinstance(one.type, click.Choice):
            return str(one.type.choices[0])
        return str(self.places.folder / "out") if isinstance(one.type, click.Path) else "GroundPlane"

    def _wrong_value(self, path: tuple[str, ...], one: click.Parameter) -> tuple[str, tuple[str, ...]]:
        flag = one.opts[0] if isinstance(one, click.Option) else str(one.name)
        label = (flag, flag.lstrip("-"), (one.metavar or flag).strip("[]."), flag.upper())
        if isinstance(one.type, click.types.IntParamType | click.types.FloatParamType | click.IntRange):
            return self._wrong_number(one), (*label, *self._second(path))
        if isinstance(one.type, click.Path):
            value, named = self._wrong_path(str(one.name))
            return value, (*named, *label, *(self._second(path)))
        if path in {("run",), ("models", "new")} and one.name == "name":  # any other name is that of a new one
            return self.random.choice([f"../{MARK}", f"{MARK}/x", f"/{MARK}"]), (MARK,)
        if path == ("results", "push") and one.name == "target":  # any other name is that of a new folder
            return self.random.choice([f"{MARK}://x", str(self.places.locked / MARK)]), (MARK, "manifest")
        value = self.random.choice(
            [
                f"{MARK}nothing",
                f"../{MARK}",
                f"{MARK} two words",
                f"{MARK}\nsecond line",
                f"{MARK}\udcff\udcfe",
                f"{MARK}\x1b[31mred",
                f"{MARK}名前",
                f"{MARK}" + "x" * 3000,
                *([""] if one.required else []),
            ]
        )
        told_of_option = label if path in {("evaluate",), ("report",)} else ()  # one that does not go with the others
        named = (MARK, *told_of_option) if value else (*label, "''", "no ", "empty")
        return value, (*named, *self._second(path))

    def _second(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Other mistakes that may be told first: nothing is built in the sandbox, and its weights are none."""
        if path[0] == "env":
            return ("not set up", "make setup", "no environment", "no ready")
        if path in {("results", "table"), ("track",)}:
            return ("is not evaluated", "has no metrics")
        if path in SECOND:
            return SECOND[path]
        return (self.places.checkpoint.name,) if path == ("checkpoints", "extract") else ()

    def _wrong_number(self, one: click.Parameter) -> str:
        words = ["", "abc", "nan", "1e999", "0x10", "1,5", "--", "1 2", "½"]
        if isinstance(one.type, click.types.FloatParamType):
            words = ["", "abc", "nan", "-1", "0", "1,5", "½", *(["inf", "1e999"] if one.name == "scale" else [])]
        elif not str(one.name).endswith("seed"):
            words += ["-1", "0", "-99999999999999999999"]
        if one.name in {"lidar_sweeps", "camera_sweeps", "level", "port", "runners", "lines"}:
            words.remove("0")
        return self.random.choice(words)

    def _wrong_path(self, name: str) -> tuple[str, tuple[str, ...]]:
        places = self.places
        below = [
            str(places.locked / MARK),
            str(places.file / MARK),
            f"/proc/{MARK}/x",
            f"/tmp/{MARK}" + "y" * 300,
            f"~{MARK}/x",
        ]
        missing = [
            f"/nowhere/{MARK}",
            f"/nowhere/{MARK} two words",
            f"/nowhere/{MARK}\nline",
            f"/nowhere/{MARK}\udcff",
            f"/nowhere/{MARK}\x1b[31m",
            "/nowhere/" + f"{MARK}/" * 900,
        ]
        if name in {"target", "out", "figures"}:
            choice = self.random.choice([*below[:-1], str(places.read_only / MARK)])
        elif name in {"tokens", "file", "boxes_2d", "config"}:
            choice = self.random.choice([*below, *missing, ""])
        else:
            choice = self.random.choice([*below, *missing, str(places.file)])
        named = (MARK, places.locked.name, places.file.name, places.read_only.name)
        return choice, named if choice else ("''", ".", places.folder.name)

    # --- mistakes in the words themselves

    def _words(self) -> list[Case]:
        cases = []
        for path, command in self.commands.items():
            at = self.random.randrange(len(path))
            typed = self._mistype(path[at])
            words = (*path[:at], typed, *path[at + 1 :], *self._right(command, None))
            cases.append(Case(command=Command(words=words), mistake="a mistyped command", named=(typed,)))
            options = [one for one in command.params if isinstance(one, click.Option)]
            if options:
                typed = self._mistype(_long(self.random.choice(options)))
                words = (*path, *self._right(command, None), typed)
                cases.append(Case(command=Command(words=words), mistake="a mistyped option", named=(typed,)))
            required = [one for one in command.params if one.required]
            if required:
                cases.append(Case(command=Command(words=path), mistake="words are missing", named=("Missing",)))
            if all(one.nargs == 1 for one in command.params):
                words = (*path, *self._right(command, None), f"{MARK}extra", f"{MARK}more")
                cases.append(Case(command=Command(words=words), mistake="words too many", named=(MARK,)))
        return cases

    def _mistype(self, word: str) -> str:
        """Swap, drop or double a letter, so that no other command or option comes of it."""
        known = {name for path in self.commands for name in path}
        start = 2 if word.startswith("--") else 0
        while True:
            at = self.random.randrange(start, len(word) - 1)
            typed = self.random.choice(
                [
                    word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                    word[:at] + word[at] + word[at:],
                    word[:at] + "q" + word[at + 1 :],
                ]
            )
            if typed not in known and typed != word:
                return typed

    # --- variables, streams, signals

    def _variables(self) -> list[Case]:
        cases = []
        for name, value, words in wrong_variables(self.places):
            command = Command(words=words, variables={name: value})
            named = (MARK, name, value, "--timeout", "GPU", "zq7zq7", " r ", "no run")
            cases.append(Case(command=command, mistake=f"{name}={value[:40]!r}", named=named))
        looks = [Command(words=words) for words in LOOKS]
        for variables in odd_variables(self.places):
            command = replace(self.random.choice(looks), variables=variables)
            cases.append(Case(command=command, mistake=f"variables {variables}", codes=frozenset({0, 1})))
            refused = Command(words=("models", "show", f"{MARK}名"), variables=variables)
            cases.append(Case(command=refused, mistake=f"a wrong name under {variables}", named=(MARK,)))
        return cases

    def _streams(self) -> list[Case]:
        cases = []
        looks = [Command(words=words) for words in LOOKS]
        refused = [
            Command(words=("models", "show", f"{MARK}nothing")),
            Command(words=("run", f"{MARK}nothing", "--data", str(self.places.data))),
            Command(words=("evaluate", f"{MARK}nothing", "--json")),
            Command(words=("rnu",)),
        ]
        for command in looks:
            cases += [
                Case(command=replace(command, stdin="closed"), mistake="<&-", codes=frozenset({0, 1})),
                Case(command=replace(command, stdout="closed"), mistake=">&-", named=("standard output",)),
                Case(command=replace(command, stdout="full"), mistake="> /dev/full", named=("No space left",)),
                Case(command=replace(command, stderr="closed"), mistake="2>&-", codes=frozenset({0, 1})),
                Case(command=replace(command, stderr="full"), mistake="2> /dev/full", codes=frozenset({0, 1})),
                Case(command=replace(command, stderr="no reader"), mistake="2> no reader", codes=frozenset({0, 1})),
                Case(command=replace(command, stdout="no reader"), mistake="| true", codes=frozenset({141})),
                Case(command=replace(command, stdin="closed", stdout="closed", stderr="closed"), mistake="all closed"),
            ]
        for command in refused:
            for more in ({"stdin": "closed"}, {"stdout": "closed"}, {"stdout": "full"}, {"stdout": "no reader"}):
                cases.append(
                    Case(command=replace(command, **more), mistake=f"refused, {more}", named=(MARK, "rnu"))  # type: ignore[arg-type]
                )
            for stream in ("closed", "full", "no reader"):
                cases.append(Case(command=replace(command, stderr=stream), mistake=f"refused, 2> {stream}"))
        closed: Stream = "closed"
        tokens = ("run", "GroundPlane", "--data", str(self.places.data), "--tokens", "-")
        named = ("standard input", "tokens")
        cases += [
            Case(command=Command(words=tokens), mistake="tokens from nowhere", named=named),
            Case(command=Command(words=tokens, stdin=closed), mistake="tokens from <&-", named=named),
            Case(
                command=Command(words=("doctor", "-"), stdin=closed), mistake="a log from <&-", codes=frozenset({0, 2})
            ),
        ]
        return cases

    def _signals(self) -> list[Case]:
        waiting = [
            ("doctor", "-"),
            ("doctor", "-", "--json"),
            ("run", "GroundPlane", "--data", str(self.places.data), "--tokens", "-"),
            ("compare", "--models", "GroundPlane", "--data", str(self.places.data), "--tokens", "-"),
        ]
        return [
            Case(
                command=Command(words=words, stdin="open", signal=number),
                mistake=f"{signal.Signals(number).name} while it reads",
                codes=frozenset({130}),
                named=("stopped",),
            )
            for words in waiting
            for number in (signal.SIGINT, signal.SIGTERM)
        ]


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _walk(inner, (*path, name))
    else:
        yield path, command
