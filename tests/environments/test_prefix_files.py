"""A prefix is emptied although what a killed build left behind still writes into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from admlops.environments.install.prefix_files import clear_prefix
from admlops.environments.prefix import SENTINEL

WRITER = """
import pathlib, sys, time
prefix = pathlib.Path(sys.argv[1])
end = time.monotonic() + 1.0
count = 0
while time.monotonic() < end:
    count += 1
    try:
        folder = prefix / "lib" / str(count % 50)
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        (folder / str(count)).write_text("late")
    except OSError:
        pass
"""


def test_a_process_that_still_writes_is_waited_for(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    clear_prefix(prefix)
    for number in range(300):
        (prefix / "lib" / str(number)).mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", WRITER, prefix]) as writer:
        while not (prefix / "lib" / "1" / "1").exists():
            assert writer.poll() is None
        clear_prefix(prefix)
        assert (prefix / SENTINEL).is_file()
        assert writer.wait() == 0
