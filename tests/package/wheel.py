"""The wheel as a newcomer gets it: built from this checkout, and unpacked where no checkout is near."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from admlops.core.paths import find_layout


def build_wheel(folder: Path) -> Path:
    """Build the wheel into `folder` with this environment's own hatchling, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    program = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=find_layout().root, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.split()[-1]


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from admlops.cli import main
answers = []
for line in json.loads(sys.argv[1]):
    sys.argv = ["admlops", *line]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main._run()
        except SystemExit as end:
            code = end.code
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


class Answer(NamedTuple):
    """What a command ended with and said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Alone:
    """The wheel's package without a checkout: `site` is where it is unpacked, `home` an empty home folder."""

    site: Path
    home: Path

    @classmethod
    def unpack(cls, wheel: Path, folder: Path) -> Alone:
        """Unpack a wheel; nothing of it is run when it is installed, so this is what an installation has."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
        (folder / "home").mkdir()
        return cls(site=folder / "site", home=folder / "home")

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process in which this package comes before the checkout's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADMLOPS", "XDG_"))}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(self.site), "COLUMNS": "200"}

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program text in the home folder."""
        return self._run([sys.executable, "-c", program])

    def admlops(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command in the home folder."""
        return self._run([sys.executable, "-m", "admlops", *map(str, arguments)])

    def admlops_in_one_process(self, *lines: Sequence[str | Path]) -> list[Answer]:
        """Run several commands one after the other, and pay for the imports once."""
        shown = self._run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps([list(map(str, line)) for line in lines])]
        )
        assert shown.returncode == 0, shown.stderr
        return [Answer(*one) for one in json.loads(shown.stdout.splitlines()[-1])]

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.home, env=self.variables, capture_output=True, text=True, timeout=240, check=False
        )
