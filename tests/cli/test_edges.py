"""What the command line meets on real machines: closed and full streams, locales, homes, levels, typing errors."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ADMLOPS = Path(sys.executable).with_name("admlops")


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "A": str(ADMLOPS), **variables}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "reason"), [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
@pytest.mark.parametrize("command", ["models list", "models list --json", "--help", "results list", "models show VAD"])
def test_output_that_cannot_be_written_is_one_sentence(command: str, redirection: str, reason: str) -> None:
    done = shell(f"$A {command} {redirection}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"admlops: standard output cannot be written: {reason}\n  → ")
    assert done.stderr.count("\n") == 2


def test_a_closed_standard_error_changes_nothing() -> None:
    assert shell("$A models list 2>&-").stdout == shell("$A models list").stdout
    assert shell("$A models show Nothing 2>&-").returncode == 2


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Without a descriptor 1 the next file that is opened would get its number, and the output."""
    code = (
        "import sys; from admlops.cli.streams import prepare_streams; prepare_streams();"
        f"file = open({str(tmp_path / 'data')!r}, 'w'); print(file.fileno(), file=sys.stderr)"
    )
    done = shell(f'"{sys.executable}" -c "{code}" <&- >&-')
    assert int(done.stderr) > 2


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    done = shell("set -o pipefail; $A models show StreamPETR --json | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}")
    assert done.stdout.strip() in {"0", "141"}
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_locale_that_cannot_spell_a_message_gets_it_all_the_same(encoding: str) -> None:
    done = shell("$A --help && $A models show Nothing", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    "level", ["WARN", "warning", "20", "CRITICAL", "TRACE", "0", "99", "Info ", "verbose", "banana"]
)
def test_a_level_that_the_pod_set_for_others_stops_nothing(level: str) -> None:
    assert shell("$A models list", LOG_LEVEL=level).returncode == 0


def test_a_level_that_was_typed_must_be_one() -> None:
    done = shell("$A --log-level banana models list")
    assert done.returncode == 2
    assert "'banana' is not one of debug, info, warning, error" in done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"), [("modles list", "models"), ("rn", "run"), ("data chekc", "check"), ("resluts", "results")]
)
def test_a_mistyped_command_names_the_one_that_is_most_like_it(typed: str, meant: str) -> None:
    done = shell(f"$A {typed}")
    assert done.returncode == 2
    assert f"Did you mean {meant}?" in done.stderr.replace("'", "").replace("models list", "models")


def test_errors_are_json_where_json_is_asked_for() -> None:
    for command, words in (("models show Nothing --json", "no model is called"), ("results lst --json", "lst")):
        done = shell(f"$A {command}")
        said = json.loads(done.stdout)
        assert (done.returncode, said["exit_code"]) == (2, 2)
        assert words in said["error"]
        assert said["hint"]


def test_no_home_is_no_matter_unless_a_path_names_it(tmp_path: Path) -> None:
    """A user id without a passwd entry and no HOME, as under `docker --user 12345` and in cron."""
    nobody = 54321
    if os.getuid() or any(user.pw_uid == nobody for user in pwd.getpwall()):
        pytest.skip("needs root, to become a user that the system does not know")
    code = (
        "from admlops.core.paths import find_layout, home_folder, user_path;"
        "find_layout(); print(home_folder()); user_path('~/x')"
    )
    readable = tmp_path / "runners"
    (tmp_path / "envs").mkdir()
    subprocess.run(["cp", "-r", find_layout().root / "runners", readable], check=True)
    for folder in (*reversed(tmp_path.parents[:3]), tmp_path):
        folder.chmod(0o755)
    done = subprocess.run(
        ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", "env", "-i", f"PYTHONPATH={readable}",
         f"ADMLOPS_PATH={tmp_path}", "PYTHONDONTWRITEBYTECODE=1", "/usr/bin/python3", "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "/", done.stderr
    assert "UsageError: ~/x names a home folder that is not known" in done.stderr


@pytest.mark.parametrize(
    "command", ["data check {0}/d", "results show {0}/r", "data synthesize {0}/d/s", "run GroundPlane --data {0}/d"]
)
def test_a_path_that_cannot_be_looked_at_is_named(command: str, tmp_path: Path) -> None:
    """A path through a file, and one whose name is too long, for every user; a folder of mode 700 is the same kind."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / ("x" * 300)):
        done = shell(f"$A {command.format(folder)}")
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert str(folder) in done.stderr
