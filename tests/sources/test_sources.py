"""Sources: real git repositories stand in for the hosted ones, by git's own `insteadOf`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from admlops.catalog import Model, load_model
from admlops.core.errors import CatalogError, DownloadError, EnvError
from admlops.core.paths import Layout
from admlops.sources.checkouts import (
    PinnedSource,
    UnreachableRepositoryError,
    fetch_source,
    find_problems,
    list_sources,
    read_state,
    source_state,
)

IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
HOST = "https://code.invalid/"
MODEL = """
name = "Tiny"
summary = "Test."
tasks = ["vector_map"]
license = "MIT"
frame = "ego"
box_convention = "standard"
temporal = false
default_variant = "modern"
[source]
kind = "git"
repository = "https://code.invalid/Tiny"
commit = "{commit}"
branch = "main"
requires = ["library-1.0"]
[variants.modern]
python = ">=3.11"
backends = ["venv"]
requirements = "modern/requirements.txt"
[classes]
vector_map = ["divider"]
"""


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *IDENTITY, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def commit_all(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def make_remote(folder: Path) -> list[str]:
    """A repository with three commits on main."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commits = []
    for number in range(3):
        (folder / "module.py").write_text(f"VALUE = {number}\n")
        (folder / "more").mkdir(exist_ok=True)
        (folder / "more" / f"{number}.txt").write_text("text\n")
        commits.append(commit_all(folder, f"change {number}"))
    return commits


@dataclass(frozen=True)
class Project:
    """A checkout with one model, whose own source and library are submodules; both remotes are on this disk."""

    layout: Layout
    remotes: Path
    commits: list[str]
    library_commits: list[str]

    @property
    def model(self) -> Model:
        return load_model(self.layout, "Tiny")

    @property
    def own(self) -> PinnedSource:
        return next(one for one in list_sources(self.layout, [self.model]) if one.folder == "Tiny")

    @property
    def path(self) -> Path:
        return self.layout.submodules / "Tiny"

    def fetch(self, **options: bool) -> bool:
        return fetch_source(self.layout, self.own, say=lambda line: None, attempts=2, backoff_s=0.01, **options)


@pytest.fixture
def project(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Project:
    remotes = tmp_path / "remotes"
    commits, library_commits = make_remote(remotes / "Tiny"), make_remote(remotes / "library")
    for name, value in instead_of(f"{remotes}/").items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "checkout"
    (root / "envs" / "Tiny").mkdir(parents=True)
    (root / "envs" / "Tiny" / "model.toml").write_text(MODEL.format(commit=commits[1]))
    (root / ".gitmodules").write_text(
        "".join(
            f'[submodule "submodules/{folder}"]\n\tpath = submodules/{folder}\n\turl = {HOST}{name}\n'
            "\tignore = untracked\n\tshallow = true\n"
            for folder, name in (("Tiny", "Tiny"), ("library-1.0", "library"))
        )
    )
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(root))
    git(root, "add", "--all")
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{commits[1]},submodules/Tiny")
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{library_commits[0]},submodules/library-1.0")
    git(root, "commit", "--quiet", "-m", "begin")
    (root / "submodules" / "library-1.0").mkdir(parents=True)  # as a clone has it
    return Project(replace(layout, root=root), remotes, commits, library_commits)


def instead_of(place: str) -> dict[str, str]:
    """Git's variables that send every request for the host to `place`."""
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{place}.insteadOf", "GIT_CONFIG_VALUE_0": HOST}


def test_sources_of_a_model_with_their_pins(project: Project) -> None:
    library, own = list_sources(project.layout, [project.model])
    assert (own.folder, own.repository, own.commit) == ("Tiny", f"{HOST}Tiny", project.commits[1])
    assert [where for where, _ in own.pins] == ["envs/Tiny/model.toml", "the submodule Tiny"]
    assert (library.folder, library.repository) == ("library-1.0", f"{HOST}library")
    assert library.commit == project.library_commits[0]


def test_a_fetch_gets_the_pinned_commit_and_no_other(project: Project) -> None:
    assert project.fetch() is True
    assert read_state(project.path).commit == project.commits[1]
    assert (project.path / "module.py").read_text() == "VALUE = 1\n"
    assert git(project.path, "log", "--format=%H") == project.commits[1]
    assert find_problems(project.layout, project.own) == ()
    assert git(project.layout.root, "status", "--porcelain", "--untracked-files=no") == ""
    assert git(project.layout.root, "submodule", "status", "--", "submodules/Tiny").startswith(project.commits[1])
    assert not list(project.layout.submodules.glob("*fetching*"))


def test_a_second_fetch_does_nothing_and_needs_no_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.fetch()
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url./nowhere/.insteadOf")
    assert project.fetch() is False


def test_what_a_killed_fetch_left_is_cleared_away(project: Project) -> None:
    left = project.layout.submodules / ".Tiny.fetching"
    (left / ".git").mkdir(parents=True)
    (left / ".git" / "index.lock").write_text("")
    assert project.fetch() is True
    assert not left.exists()
    assert find_problems(project.layout, project.own) == ()


def test_a_token_in_an_address_is_not_printed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.http://user:hush@127.0.0.1:9/.insteadOf")
    said: list[str] = []
    secret = replace(project.own, repository="https://user:hush@code.invalid/Tiny")
    for source in (project.own, secret):
        with pytest.raises(DownloadError) as raised:
            fetch_source(project.layout, source, say=said.append, attempts=2, backoff_s=0.01)
        said.append(str(raised.value))
    assert "hush" not in "\n".join(said)


def test_an_empty_folder_of_a_fresh_clone_is_filled(project: Project) -> None:
    project.path.mkdir(parents=True)
    assert project.fetch() is True


def test_another_commit_is_moved_to_the_pinned_one_and_untracked_files_stay(project: Project) -> None:
    project.fetch()
    git(project.path, "fetch", "--quiet", "--depth", "1", "origin", project.commits[2])
    git(project.path, "checkout", "--quiet", "--detach", project.commits[2])
    (project.path / "tools").mkdir()
    (project.path / "tools" / "demo.py").write_text("ours\n")
    (problem,) = find_problems(project.layout, project.own)
    assert problem == f"{project.commits[2][:12]} is checked out, not {project.commits[1][:12]}"
    assert project.fetch() is True
    assert find_problems(project.layout, project.own) == ()
    assert (project.path / "tools" / "demo.py").read_text() == "ours\n"


def edit(path: Path) -> None:
    (path / "module.py").write_text("VALUE = 'mine'\n")


def delete(path: Path) -> None:
    (path / "more" / "0.txt").unlink()


def stage(path: Path) -> None:
    edit(path)
    git(path, "add", "module.py")


def change_mode(path: Path) -> None:
    (path / "module.py").chmod(0o755)


def replace_by_link(path: Path) -> None:
    (path / "module.py").unlink()
    (path / "module.py").symlink_to("more/0.txt")


@pytest.mark.parametrize("change", [edit, delete, stage, change_mode, replace_by_link])
def test_a_changed_tree_is_found_and_has_a_hash_of_its_own(project: Project, change: Callable[[Path], None]) -> None:
    project.fetch()
    clean = source_state(project.layout, project.model)["Tiny"]
    assert (clean.dirty, clean.diff_sha256) == (False, None)
    change(project.path)
    state = source_state(project.layout, project.model)["Tiny"]
    assert state.dirty
    assert state.diff_sha256 is not None
    assert state.diff_sha256 == read_state(project.path).diff_sha256
    (problem,) = find_problems(project.layout, project.own)
    assert problem == f"tracked files were changed: {state.changed[0]}"
    edit(project.path)
    assert change in (edit, stage) or read_state(project.path).diff_sha256 != state.diff_sha256


def test_changes_of_a_user_are_kept_unless_forced(project: Project) -> None:
    project.fetch()
    edit(project.path)
    assert project.fetch() is False, "at the pinned commit, so there is nothing to fetch"
    file = project.layout.envs / "Tiny" / "model.toml"
    file.write_text(MODEL.format(commit=project.commits[2]))
    with pytest.raises(EnvError, match="changes of yours") as raised:
        project.fetch()
    assert "stash" in raised.value.hint
    assert (project.path / "module.py").read_text() == "VALUE = 'mine'\n"
    assert project.fetch(force=True) is True
    assert (project.path / "module.py").read_text() == "VALUE = 2\n"


def test_forced_at_the_pinned_commit_needs_no_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.fetch()
    edit(project.path)
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url./nowhere/.insteadOf")
    assert project.fetch(force=True) is True
    assert not read_state(project.path).dirty


def test_pins_that_differ_are_named(project: Project) -> None:
    (project.layout.envs / "Tiny" / "model.toml").write_text(MODEL.format(commit=project.commits[2]))
    problems = find_problems(project.layout, project.own)
    assert problems[0] == (
        f"the pins differ: envs/Tiny/model.toml says {project.commits[2][:12]}, "
        f"the submodule Tiny says {project.commits[1][:12]}"
    )
    assert problems[1] == "it is not fetched"


def test_a_required_folder_that_is_no_submodule(project: Project) -> None:
    git(project.layout.root, "rm", "--quiet", "--cached", "submodules/library-1.0")
    with pytest.raises(CatalogError, match=r"requires names library-1\.0"):
        list_sources(project.layout, [project.model])


def test_without_a_git_checkout_the_own_source_is_fetched_all_the_same(project: Project) -> None:
    shutil.rmtree(project.layout.root / ".git")
    file = project.layout.envs / "Tiny" / "model.toml"
    file.write_text(file.read_text().replace('requires = ["library-1.0"]', ""))
    assert project.fetch() is True
    assert find_problems(project.layout, project.own) == ()


def test_a_source_inside_another_checkout_is_not_mistaken_for_it(project: Project) -> None:
    project.path.mkdir(parents=True)
    (project.path / "notes.txt").write_text("mine")
    assert read_state(project.path).commit is None, "the surrounding checkout's commit is not the source's"
    with pytest.raises(EnvError, match="no git checkout"):
        project.fetch()
    (project.path / ".git").mkdir()
    assert read_state(project.path).commit is None


def test_a_commit_that_is_gone(project: Project) -> None:
    absent = "0123456789" * 4
    (project.layout.envs / "Tiny" / "model.toml").write_text(MODEL.format(commit=absent))
    with pytest.raises(DownloadError, match=f"has no commit {absent} any more"):
        project.fetch()
    assert not project.path.exists()
    assert not (project.layout.submodules / ".Tiny.fetching").exists()


def test_a_server_that_gives_no_single_commits(project: Project) -> None:
    """Protocol version 0 refuses a commit that no branch points at; the whole branch has it."""
    config = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_1": "protocol.version", "GIT_CONFIG_VALUE_1": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in config.items():
            patch.setenv(name, value)
        assert project.fetch() is True
    assert read_state(project.path).commit == project.commits[1]
    assert git(project.path, "log", "--format=%H").split() == [project.commits[1], project.commits[0]]


def test_a_repository_that_is_not_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url./nowhere/.insteadOf")
    with pytest.raises(DownloadError, match="could not be fetched") as raised:
        project.fetch()
    assert "git ls-remote" in raised.value.hint


def test_a_host_that_does_not_answer_is_tried_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.http://127.0.0.1:9/.insteadOf")
    said: list[str] = []
    with pytest.raises(UnreachableRepositoryError, match="cannot be reached") as raised:
        fetch_source(project.layout, project.own, say=said.append, attempts=3, backoff_s=0.01)
    assert [line for line in said if "trying again" in line][1:]
    assert "HTTPS_PROXY" in raised.value.hint
    assert not project.path.exists()


def test_variables_of_a_git_hook_do_not_lead_astray(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.fetch()
    monkeypatch.setenv("GIT_DIR", str(project.remotes / "Tiny" / ".git"))
    assert read_state(project.path).commit == project.commits[1]
    assert find_problems(project.layout, project.own) == ()


def command(project: Project, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "admlops", "sources", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "ADMLOPS_PATH": str(project.layout.root), "COLUMNS": "200", **variables},
        check=False,
    )


@pytest.mark.full
def test_the_command_from_nothing_to_verified(project: Project) -> None:
    refused = command(project, "verify")
    assert refused.returncode == 1
    assert "Tiny: it is not fetched" in refused.stderr
    assert "→ admlops sources fetch" in refused.stderr
    assert "it is not fetched" in command(project, "list").stdout
    fetched = command(project, "fetch", "Tiny", "--json")
    assert [one["fetched"] for one in json.loads(fetched.stdout)] == [True, True]
    assert command(project, "verify", "Tiny").stdout == "2 sources are exactly what is pinned\n"
    assert json.loads(command(project, "list", "--json").stdout)[1]["checked_out"] == project.commits[1]
    edit(project.path)
    assert command(project, "verify").returncode == 1


def test_the_command_goes_on_after_a_failure_and_says_so(project: Project) -> None:
    shutil.rmtree(project.remotes / "library")
    failed = command(project, "fetch")
    assert failed.returncode == 2
    assert "library-1.0" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert read_state(project.path).commit == project.commits[1]


def test_the_command_offline(project: Project) -> None:
    offline = command(project, "fetch", GIT_CONFIG_KEY_0="url.http://127.0.0.1:9/.insteadOf")
    assert offline.returncode == 2
    assert "cannot be reached" in offline.stderr
    assert "library" in offline.stderr
    assert "Tiny: checking out" not in offline.stderr, "the next one at the same host is not even tried"


def test_an_unknown_model(project: Project) -> None:
    assert "no model is called" in command(project, "fetch", "Absent").stderr
