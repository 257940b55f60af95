"""The models' sources: git submodules, each at one pinned commit, fetched shallow and never edited.

A pin is written twice for a model's own source, in its `model.toml` and as the checkout's submodule, and once for what
it `requires`, as a submodule. `verify` wants all of them and the commit that is checked out to be equal, and no tracked
file changed. Untracked files are left alone: builds and the adapter's link lie there.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog import Model
from admlops.core.addresses import hide_users, redact
from admlops.core.errors import AdmlopsError, CatalogError, DownloadError, EnvError, StorageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.processes import Completed, run
from admlops.core.storage import explain_os_error, file_sha256
from admlops.core.types import Say

GIT_TIMEOUT_S = 120
FETCH_TIMEOUT_S = 3600
_GIT = (
    "git",
    "--no-optional-locks",
    *("-c", "advice.detachedHead=false"),
    *("-c", "core.autocrlf=false"),
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"),  # git has no time-out of its own
)
_VARIABLES = {
    # A command that runs inside a git hook must not work on that repository; nobody is there to type a password.
    **dict.fromkeys(("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY")),
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_UNREACHABLE = (
    "could not resolve",
    "connection refused",
    "connection reset",
    "connection timed out",
    "couldn't connect",
    "failed to connect",
    "network is unreachable",
    "operation too slow",
    "operation timed out",
    "early eof",
    "rpc failed",
    "the remote end hung up",
    "gnutls",
    "ssl",
    "returned error: 429",
    "returned error: 5",
)
_NOT_OFFERED = ("not our ref", "unadvertised object", "couldn't find remote ref")


@dataclass(frozen=True, kw_only=True)
class PinnedSource:
    """One folder under `submodules/`. `pins` are the places that name a commit, all of which must be equal."""

    folder: str
    repository: str
    commit: str
    branch: str | None
    pins: tuple[tuple[str, str], ...]
    models: tuple[str, ...]

    def path(self, layout: Layout) -> Path:
        """Return where it is checked out."""
        return layout.submodules / self.folder


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """What is checked out: `commit` is None where nothing is. `diff_sha256` covers every tracked file that differs."""

    commit: str | None
    dirty: bool
    diff_sha256: str | None
    changed: tuple[str, ...] = ()


def list_sources(layout: Layout, models: Iterable[Model]) -> tuple[PinnedSource, ...]:
    """The sources that `models` need, each once, sorted by folder.

    Raises:
        CatalogError: a model requires a folder that is no submodule of this checkout.
    """
    links, addresses = _read_links(layout), _read_addresses(layout)
    found: dict[str, PinnedSource] = {}
    for model in models:
        for source in _sources_of(model, links, addresses):
            known = found.get(source.folder, source)
            found[source.folder] = PinnedSource(
                folder=source.folder,
                repository=known.repository,
                commit=known.commit,
                branch=known.branch or source.branch,
                pins=tuple(dict.fromkeys([*known.pins, *source.pins])),
                models=tuple(dict.fromkeys([*known.models, *source.models])),
            )
    return tuple(found[folder] for folder in sorted(found, key=str.lower))


def _sources_of(model: Model, links: dict[str, str], addresses: dict[str, str]) -> Iterable[PinnedSource]:
    source = model.source
    if source.kind == "git" and source.repository and source.commit:
        folder = source.folder or model.name
        pins = [(f"envs/{model.name}/model.toml", source.commit)]
        pins += [(f"the submodule {folder}", links[folder])] if folder in links else []
        yield PinnedSource(
            folder=folder,
            repository=source.repository,
            commit=source.commit,
            branch=source.branch,
            pins=tuple(pins),
            models=(model.name,),
        )
    for folder in source.requires:
        if folder not in links or folder not in addresses:
            raise CatalogError(
                f"{model.folder / 'model.toml'}: source.requires names {folder}, which is no submodule here",
                hint="git clone the project instead of unpacking an archive, or git submodule add it",
            )
        yield PinnedSource(
            folder=folder,
            repository=addresses[folder],
            commit=links[folder],
            branch=None,
            pins=((f"the submodule {folder}", links[folder]),),
            models=(model.name,),
        )


def _read_links(layout: Layout) -> dict[str, str]:
    """Folder → commit, as git's index of this checkout has them; empty outside a git checkout."""
    if not (layout.checkout / ".git").exists():
        return {}
    listed = _git("-C", layout.checkout, "ls-files", "--stage", "--", "submodules")
    links = {}
    for line in listed.stdout.splitlines():
        facts, _, path = line.partition("\t")
        mode, commit, _ = facts.split()
        if mode == "160000":
            links[path.removeprefix("submodules/")] = commit
    return links


def _read_addresses(layout: Layout) -> dict[str, str]:
    """Folder → the repository's address, as `.gitmodules` has them."""
    file = layout.checkout / ".gitmodules"
    if not file.is_file():
        return {}
    listed = _git("config", "--file", file, "--get-regexp", r"^submodule\..*\.url$")
    pairs = (line.split(" ", 1) for line in listed.stdout.splitlines())
    return {key.removeprefix("submodule.submodules/").removesuffix(".url"): url for key, url in pairs}


def source_state(layout: Layout, model: Model) -> dict[str, SourceState]:
    """What is checked out of everything a model's code comes from: folder → state; empty for an embedded model."""
    folders = [model.source.folder or model.name] if model.source.kind == "git" else []
    return {folder: read_state(layout.submodules / folder) for folder in (*folders, *model.source.requires)}


def read_state(path: Path) -> SourceState:
    """Return what is checked out at `path`."""
    if not (path / ".git").exists():
        return SourceState(commit=None, dirty=False, diff_sha256=None)
    head = _git_in(path, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
    if head.returncode:
        return SourceState(commit=None, dirty=False, diff_sha256=None)
    changed = _git_in(path, "diff", "--name-only", "--no-renames", "-z", "HEAD").stdout.split("\0")
    names = tuple(sorted(filter(None, changed)))
    return SourceState(
        commit=head.stdout.strip(),
        dirty=bool(names),
        diff_sha256=_hash_files(path, names) if names else None,
        changed=names,
    )


def _hash_files(root: Path, names: Iterable[str]) -> str:
    """The sha256 over the names, kinds and contents of these files; a missing one counts as missing."""
    digest = hashlib.sha256()
    for name in names:
        path = root / name
        if path.is_symlink():
            content = f"link {path.readlink()}"
        elif path.is_file():
            content = f"{'program' if os.access(path, os.X_OK) else 'file'} {file_sha256(path)}"
        else:
            content = "missing"
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def find_problems(layout: Layout, source: PinnedSource) -> tuple[str, ...]:
    """Return what keeps this source from being exactly what is pinned; empty if nothing does."""
    problems = []
    if len({commit for _, commit in source.pins}) > 1:
        named = ", ".join(f"{where} says {commit[:12]}" for where, commit in source.pins)
        problems.append(f"the pins differ: {named}")
    state = read_state(source.path(layout))
    if state.commit is None:
        problems.append("it is not fetched")
    elif state.commit != source.commit:
        problems.append(f"{state.commit[:12]} is checked out, not {source.commit[:12]}")
    if state.dirty:
        more = f" and {len(state.changed) - 1} more" if len(state.changed) > 1 else ""
        problems.append(f"tracked files were changed: {state.changed[0]}{more}")
    return tuple(problems)


def fetch_source(
    layout: Layout, source: PinnedSource, *, say: Say, force: bool = False, attempts: int = 3, backoff_s: float = 2.0
) -> bool:
    """Check out exactly the pinned commit; tell if there was anything to do. `force` drops changes to tracked files.

    Raises:
        DownloadError: the repository cannot be reached, is not there, or has no such commit any more.
        EnvError: tracked files were changed, or something else lies in the folder.
        StorageError: the disk is full or the folder cannot be written.
    """
    path = source.path(layout)
    try:
        lock = layout.submodules / f".{source.folder}.lock"
        with hold(lock, what=f"fetching the sources of {source.folder}", say=say):
            state = read_state(path)
            if state.commit == source.commit and not (force and state.dirty):
                return False
            if state.dirty and not force:
                raise _changed(path, state)
            say(f"{source.folder}: checking out {source.commit[:12]} of {redact(source.repository)}")
            if (path / ".git").exists():
                if not _has_commit(path, source):
                    _fetch_commit(path, source, say, attempts=attempts, backoff_s=backoff_s)
                _git_in(path, "checkout", "--quiet", "--force", "--detach", source.commit)
            else:
                _fetch_fresh(path, source, say, attempts=attempts, backoff_s=backoff_s)
    except OSError as error:
        raise explain_os_error(error, path) from error
    _register(layout, source)
    return True


def _changed(path: Path, state: SourceState) -> EnvError:
    return EnvError(
        f"{path} has changes of yours ({state.changed[0]}), and another commit is pinned",
        hint=f"git -C {path} stash   # or drop them: admlops sources fetch --force",
    )


def _fetch_fresh(path: Path, source: PinnedSource, say: Say, *, attempts: int, backoff_s: float) -> None:
    """Fetch into a folder beside `path`, then rename it: a killed fetch leaves nothing that looks like a source."""
    if path.is_dir() and any(path.iterdir()):
        raise EnvError(
            f"{path} holds files but is no git checkout",
            hint=f"mv {path} {path}.old && admlops sources fetch",
        )
    beside = path.with_name(f".{path.name}.fetching")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _git("init", "--quiet", beside)
        _git_in(beside, "config", "core.autocrlf", "false")
        _git_in(beside, "remote", "add", "origin", source.repository)
        _fetch_commit(beside, source, say, attempts=attempts, backoff_s=backoff_s)
        _git_in(beside, "checkout", "--quiet", "--detach", source.commit)
        if path.is_dir():
            path.rmdir()
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fetch_commit(path: Path, source: PinnedSource, say: Say, *, attempts: int, backoff_s: float) -> None:
    """Fetch the pinned commit alone; the whole branch only from a server that does not give single commits."""
    try:
        _fetch_retrying(path, source, ("--depth", "1", source.commit), say, attempts=attempts, backoff_s=backoff_s)
    except _NotOfferedError:
        wanted = [f"refs/heads/{source.branch}"] if source.branch else ["refs/heads/*:refs/remotes/origin/*", "--tags"]
        try:
            _fetch_retrying(path, source, tuple(wanted), say, attempts=attempts, backoff_s=backoff_s)
        except _NotOfferedError as error:
            raise _gone(source) from error
        if not _has_commit(path, source):
            raise _gone(source) from None


def _has_commit(path: Path, source: PinnedSource) -> bool:
    return not _git_in(path, "cat-file", "-e", f"{source.commit}^{{commit}}", check=False).returncode


class _NotOfferedError(Exception):
    """The server does not give what was asked for."""


def _fetch_retrying(
    path: Path, source: PinnedSource, wanted: tuple[str, ...], say: Say, *, attempts: int, backoff_s: float
) -> None:
    for attempt in range(1, attempts + 1):
        done = _git_in(path, "fetch", "--quiet", "--no-tags", "origin", *wanted, check=False, timeout_s=FETCH_TIMEOUT_S)
        if done.returncode == 0:
            return
        text = done.stderr.lower()
        reason = hide_users(next(reversed(done.stderr.strip().splitlines()), "git fetch failed"))
        if any(mark in text for mark in _NOT_OFFERED):
            raise _NotOfferedError
        if "no space left" in text:
            raise StorageError(f"{path} could not be written: {reason}", hint=f"df -h {path.parent}")
        if not any(mark in text for mark in _UNREACHABLE):
            raise DownloadError(
                f"{redact(source.repository)} could not be fetched: {reason}",
                hint=f"git ls-remote {redact(source.repository)}   # see whether it is there and public",
            )
        if attempt == attempts:
            raise UnreachableRepositoryError(
                f"{redact(source.repository)} cannot be reached: {reason}",
                hint="check the network, and HTTPS_PROXY if there is a proxy; then: admlops sources fetch",
            )
        wait_s = backoff_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311  # spreads retries
        say(f"{source.folder}: {reason}; trying again in {wait_s:.0f} s")
        time.sleep(wait_s)


class UnreachableRepositoryError(DownloadError):
    """No answer from the repository's host: the other repositories there will not answer either."""


def _gone(source: PinnedSource) -> DownloadError:
    return DownloadError(
        f"{redact(source.repository)} has no commit {source.commit} any more",
        hint="ask its authors or take a fork that still has it, and change model.toml and .gitmodules",
    )


def _register(layout: Layout, source: PinnedSource) -> None:
    """Let git's own submodule commands know it; of no consequence where they do not."""
    if any(where.startswith("the submodule") for where, _ in source.pins):
        _git("-C", layout.checkout, "submodule", "--quiet", "init", "--", f"submodules/{source.folder}", check=False)


def _git_in(path: Path, *arguments: str | Path, check: bool = True, timeout_s: float = GIT_TIMEOUT_S) -> Completed:
    """Run git on this very repository, never on one that happens to lie around it."""
    return _git(f"--git-dir={path / '.git'}", f"--work-tree={path}", *arguments, check=check, timeout_s=timeout_s)


def _git(*arguments: str | Path, check: bool = True, timeout_s: float = GIT_TIMEOUT_S) -> Completed:
    done = run([*_GIT, *arguments], timeout_s=timeout_s, variables=_VARIABLES)
    if check and done.returncode:
        raise _explain(done)
    return done


def _explain(done: Completed) -> AdmlopsError:
    reason = done.stderr.strip() or f"git ended with {done.returncode}"
    if "dubious ownership" in reason:
        path = reason.partition("'")[2].partition("'")[0]
        return EnvError(
            f"git does not trust {path}, because another user owns it",
            hint=f"git config --global --add safe.directory {path}",
        )
    if "No space left" in reason:
        return StorageError(f"git could not write: {reason}", hint="df -h .   # free some space, then try again")
    return EnvError(f"git failed: {reason}", hint="git --version   # version 2.26 or newer is needed")
