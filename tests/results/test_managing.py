"""Runs listed by what they are, tagged and removed, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.typed import Typed

from admlops.core.paths import Layout
from admlops.results.run_folder import RunFolder

MakeRun = Callable[..., RunFolder]


def listed(typed: Typed, *options: str) -> list[str]:
    said = typed("results", "list", "--json", *options)
    assert said.code == 0, said.err
    return [row["run"] for row in json.loads(said.out)["runs"]]


def change(run: RunFolder, **facts: object) -> None:
    """Rewrite facts in a run's header."""
    run.header = msgspec.structs.replace(run.header, **facts)
    run.update(state=run.header.state)


@contextmanager
def held(run: RunFolder) -> Iterator[None]:
    """The run's lock, held by another process."""
    code = (
        "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, run.path / "run.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        assert holder.stdin is not None
        holder.stdin.close()


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ((), ["a", "b", "c"]),
        (("--model", "MapTR"), ["b"]),
        (("--model", "MapTR", "--model", "GroundPlane"), ["a", "b", "c"]),
        (("--state", "cancelled"), ["c"]),
        (("--state", "cancelled", "--model", "MapTR"), []),
        (("--data", "/elsewhere"), ["b"]),
        (("--data", "mini"), ["a", "b", "c"]),
        (("--tag", "paper"), ["a", "c"]),
        (("--sort", "model"), ["a", "c", "b"]),
        (("--sort", "run", "--reverse"), ["c", "b", "a"]),
        (("--sort", "state"), ["c", "a", "b"]),
    ],
)
def test_filters_and_order(typed: Typed, make_run: MakeRun, options: tuple[str, ...], runs: list[str]) -> None:
    _, b, c = (make_run(name, created=f"2026-01-0{day}T00:00:00+00:00") for day, name in enumerate("abc", start=1))
    change(b, model="MapTR", data=msgspec.structs.replace(b.header.data, root="/elsewhere/nuscenes"))
    c.update(state="cancelled")
    for name in "ac":
        assert typed("results", "tag", name, "paper").code == 0
    assert listed(typed, *options) == runs


def test_nothing_that_fits_is_told_from_no_runs(typed: Typed, make_run: MakeRun) -> None:
    assert "no runs yet" in typed("results", "list").out
    make_run("a")
    assert typed("results", "list", "--model", "VAD").out == "none of 1 runs is so\n"


def test_tags_come_and_go_and_are_no_part_of_the_run(typed: Typed, make_run: MakeRun) -> None:
    run = make_run("a")
    run.write_manifest()
    assert typed("results", "tag", "a", "paper", "best", "paper").out == "a is tagged paper, best\n"
    assert typed("results", "tag", "a", "--remove", "paper", "--dry-run").out == "a would be tagged best\n"
    assert json.loads(typed("results", "tag", "a", "--json").out)["tags"] == ["paper", "best"]
    assert "paper, best" in typed("results", "list").out
    assert typed("results", "verify", "a").code == 0, "the manifest does not speak of tags"
    assert typed("results", "tag", "a", "--remove", "paper", "--remove", "best").out == "a is without tags\n"
    assert not (run.path / "tags.json").exists()


@pytest.mark.parametrize("tag", ["", "two words", "-x", "ä", "a" * 65, "../x\n"])
def test_what_is_no_tag_is_refused(typed: Typed, make_run: MakeRun, tag: str) -> None:
    make_run("a")
    said = typed("results", "tag", "a", "--", tag)
    assert (said.code, "is no tag" in said.err) == (2, True)


def test_a_damaged_list_of_tags_is_named(typed: Typed, make_run: MakeRun) -> None:
    run = make_run("a")
    for content in ("{", '{"a": 1}', "[1]"):
        (run.path / "tags.json").write_text(content)
        said = typed("results", "tag", "a")
        assert (said.code, str(run.path / "tags.json") in said.err) == (2, True)


def test_removal_says_does_and_asks(typed: Typed, make_run: MakeRun, layout: Layout) -> None:
    first, second = make_run("first"), make_run("second")
    assert typed("results", "remove", "first", "--dry-run").out.startswith("would remove first, 0.0 MB")
    assert first.path.is_dir()
    asked = typed("results", "remove", "first")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert first.path.is_dir()
    removed = json.loads(typed("results", "remove", "first", "--yes", "--json").out)
    assert [(row["run"], row["removed"]) for row in removed] == [("first", True)]
    assert sorted(path.name for path in layout.runs.iterdir()) == ["second"]
    assert second.path.is_dir()


def test_one_wrong_name_removes_none(typed: Typed, make_run: MakeRun) -> None:
    run = make_run("first")
    said = typed("results", "remove", "first", "frist", "--yes")
    assert (said.code, "did you mean first?" in said.err, run.path.is_dir()) == (2, True, True)


def test_what_goes_on_is_not_removed(typed: Typed, make_run: MakeRun) -> None:
    run = make_run("first")
    run.begin()
    with held(run):
        for options in ((), ("--dry-run",)):
            said = typed("results", "remove", "first", "--yes", *options)
            assert (said.code, "is running" in said.err) == (2, True)
    run.update(state="complete")
    with held(run):
        assert typed("results", "remove", "first", "--yes").code == 2, "somebody writes to it, such as `evaluate`"
    assert run.path.is_dir()


def test_a_run_on_another_disk_goes_with_its_link(typed: Typed, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("first")
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    assert typed("results", "remove", "first", "--yes").code == 0
    assert not elsewhere.exists()
    assert not run.path.is_symlink()
