"""The environments that are there: shown, verified, repaired, removed and collected, by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.environments.small_checkout import SmallCheckout

from admlops.core.file_lock import hold
from admlops.environments.prefix import STATE_FILE, lock_of
from admlops.environments.spec.conda_lock import read_conda_lock, write_conda_lock


def state_of(prefix: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((prefix / STATE_FILE).read_text())
    return content


def core(prefix: Path) -> Path:
    return next(prefix.glob("lib/python3*/site-packages/click/core.py"))


def test_an_edit_is_found_and_repaired_and_no_new_environment_inherits_it(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "conda")
    prefix = small.prefix("conda")
    compiler = next(prefix.glob("bin/x86_64-conda-linux-gnu-g++"))
    original = {path: path.read_bytes() for path in (core(prefix), compiler)}
    for path, content in original.items():
        path.write_bytes(content + b"\n# edited\n")
    (prefix / "lib" / "python3.11" / "site-packages" / "mine.pth").write_text("import os\n")
    found = small.admlops("env", "verify", "Tiny", "--full", "--json", check=False)
    assert found.returncode == 1
    (row,) = json.loads(found.stdout)
    said = {one["path"].rpartition("/")[2]: (one["package"], one["kind"]) for one in row["differences"]}
    assert said.keys() == {"core.py", compiler.name, "mine.pth"}
    assert said["core.py"] == ("click", "changed")
    assert said["mine.pth"] == (None, "added")
    prefix.rename(prefix.with_name("Tiny-conda-elsewhere"))
    small.admlops("env", "install", "Tiny", "--variant", "conda")
    assert {path: path.read_bytes() for path in original} == original, "the caches do not have the edits"
    small.admlops("env", "verify", prefix.name, "--full")


def test_repair_installs_anew_only_what_differs_and_keeps_a_persons_work(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "conda")
    prefix = small.prefix("conda")
    untouched = prefix / "bin" / "python3.11"
    before = untouched.stat().st_ino
    core(prefix).write_text("edited = True\n")
    link = next(path for path in sorted(prefix.glob("bin/*")) if path.is_symlink())
    link.unlink()
    (prefix / "bin" / "gcc").write_text("my own\n")
    done = small.admlops("env", "repair", "Tiny", "--json")
    (row,) = json.loads(done.stdout)
    assert "click" in row["reinstalled"]
    assert not row["rebuilt"]
    replaced = Path(row["replaced"])
    assert (replaced / core(prefix).relative_to(prefix)).read_text() == "edited = True\n"
    assert (replaced / "bin" / "gcc").read_text() == "my own\n"
    assert untouched.stat().st_ino == before or "python" in row["reinstalled"]
    assert state_of(prefix)["state"] == "ready"
    small.admlops("env", "verify", "Tiny", "--full")
    assert "nothing to repair" in small.admlops("env", "repair", "Tiny").stdout


def test_a_virtual_environment_is_repaired_too(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    core(prefix).unlink()
    lines = small.admlops("env", "verify", "Tiny", check=False).stdout.splitlines()
    assert any(line.strip().endswith("click/core.py is missing [click]") for line in lines), lines
    assert lines[-1] == f"  → admlops env repair {prefix.name}"
    small.admlops("env", "repair", prefix.name)
    small.admlops("env", "verify", "Tiny", "--full")
    (prefix / "bin" / "python").unlink()
    assert "built anew" in small.admlops("env", "repair", prefix.name).stdout
    small.admlops("env", "run", "Tiny", "--", "python", "-c", "import click")


def test_show_says_what_an_environment_is(small: SmallCheckout) -> None:
    missing = small.admlops("env", "show", "Tiny", check=False)
    assert missing.returncode == 2
    assert "→ admlops env install Tiny" in missing.stderr
    small.admlops("env", "install", "Tiny", "--variant", "conda")
    (shown,) = json.loads(small.admlops("env", "show", "Tiny", "--json").stdout)
    assert (shown["state"], shown["installer"], shown["asked_for_by_a_lock"]) == ("ready", "conda", True)
    assert shown["python"].startswith("3.11.")
    assert "sm_90" in shown["kernels_for"]
    assert shown["weak_hashes"] == []
    assert shown["size_bytes"] > 10e6
    assert shown["variables"]["CONDA_PREFIX"] == str(small.prefix("conda"))
    text = small.admlops("env", "show", "Tiny").stdout
    assert "kernels for:              sm_50, sm_60, " in text
    assert f"CONDA_PREFIX={small.prefix('conda')}" in text


def test_show_names_packages_that_are_known_by_md5_alone(small: SmallCheckout) -> None:
    path = small.model / "conda" / "conda-lock.yml"
    lock = read_conda_lock(path)
    weak = next(package for package in lock.packages if package.name == "libdemo")
    packages = tuple(replace(one, sha256=None) if one is weak else one for one in lock.packages)
    write_conda_lock(path, replace(lock, packages=packages, md5_only=frozenset({weak.url})))
    small.admlops("env", "install", "Tiny", "--variant", "conda")
    (shown,) = json.loads(small.admlops("env", "show", "Tiny", "--json").stdout)
    assert shown["weak_hashes"] == ["libdemo (md5 only)"]
    assert shown["lock_notes"] == [f"only an md5, because the channel publishes no sha256: {weak.file_name}"]
    small.admlops("env", "verify", "Tiny", "--full")


def test_several_environments_are_not_removed_by_one_name(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "modern")
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    refused = small.admlops("env", "remove", "Tiny", check=False)
    assert refused.returncode == 2
    assert "Tiny has several environments here" in refused.stderr
    modern = small.prefix("modern")
    (row,) = json.loads(small.admlops("env", "remove", "Tiny", "--variant", "modern", "--json").stdout)
    assert row["prefix"] == str(modern)
    assert row["size_bytes"] > 10_000
    assert not modern.exists()
    assert not [path for path in small.layout.environments.iterdir() if path.name.endswith(".removing")]
    small.admlops("env", "remove", "Tiny")
    assert small.admlops("env", "verify").stdout.startswith("no environments in")


def test_the_list_tells_ready_broken_and_outdated_ones_apart(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "modern")
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    broken, outdated = small.prefix("modern"), small.prefix("bare")
    (small.model / "bare" / "requirements.txt").write_text("# another lock\n")
    for state, why in (("broken", "no such hash"), ("building", None)):
        (broken / STATE_FILE).write_text(json.dumps({**state_of(broken), "state": state, "reason": why}))
        rows = {
            (row["model"], row["variant"]): row for row in json.loads(small.admlops("env", "list", "--json").stdout)
        }
        assert rows["Tiny", "modern"]["status"] == f"{state}, {why or 'or cut short'}: admlops env repair {broken.name}"
        assert rows["Tiny", "modern"]["prefix"] == str(broken)
        assert rows["Tiny", "bare"]["status"].startswith("not set up")
        assert rows["Tiny-bare", None]["prefix"] == str(outdated)
        assert "admlops env gc" in rows["Tiny-bare", None]["status"]
    assert f"admlops env repair {broken.name}" in small.admlops("env", "list").stdout
    small.admlops("env", "repair", broken.name)
    assert state_of(broken)["state"] == "ready"


def test_all_environments_are_removed_at_once(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "modern")
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    broken = small.prefix("modern")
    (broken / STATE_FILE).write_text(json.dumps({**state_of(broken), "state": "broken"}))
    unnamed = small.admlops("env", "remove", check=False)
    assert unnamed.returncode == 2
    assert "→ admlops env remove --all" in unnamed.stderr
    assert len(json.loads(small.admlops("env", "remove", "--all", "--json").stdout)) == 2
    assert not list(small.layout.environments.glob("Tiny-*[0-9a-f]"))
    assert small.admlops("env", "remove", "--all").stdout.startswith("no environments in")


def test_an_environment_in_use_is_not_removed(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    (prefix / "bin" / "gcc").write_text("mine\n")
    with subprocess.Popen([prefix / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as user:
        unrepaired = small.admlops("env", "repair", "Tiny", check=False)
        refused = small.admlops("env", "remove", "Tiny", check=False)
        collected = small.admlops("env", "gc", "--dry-run").stdout
        user.kill()
    assert refused.returncode == 2
    assert f"is in use by process {user.pid} (" in refused.stderr
    assert prefix.is_dir()
    assert f"is in use by process {user.pid} (" in unrepaired.stderr
    assert (prefix / "bin" / "gcc").is_file()
    assert state_of(prefix)["state"] == "ready"
    assert collected == "nothing to remove\n"
    small.admlops("env", "remove", "Tiny")
    assert not prefix.exists()


def test_a_program_that_env_run_started_counts_as_a_user(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    command = ["admlops", "env", "run", "Tiny", "--variant", "bare", "--", "sleep", "60"]
    with subprocess.Popen(command, env=small.variables) as user:
        deadline = time.monotonic() + 30
        while Path(f"/proc/{user.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline, "env run did not become the program"
            time.sleep(0.05)
        refused = small.admlops("env", "remove", "Tiny", check=False)
        user.terminate()
    assert f"is in use by process {user.pid} (sleep 60)" in refused.stderr
    assert user.returncode == -15, "the signal reached the program itself"


def test_a_folder_that_admlops_did_not_make_is_left_alone(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    work = small.layout.environments / "thesis"
    work.mkdir()
    (work / "thesis.tex").write_text("years of work")
    refused = small.admlops("env", "remove", "thesis", check=False)
    assert refused.returncode == 2
    small.admlops("env", "gc")
    assert (work / "thesis.tex").read_text() == "years of work"
    (prefix / "made-by-admlops").unlink()
    (prefix / STATE_FILE).unlink()
    assert small.admlops("env", "remove", prefix.name, check=False).returncode == 2
    assert prefix.is_dir()


def test_gc_removes_what_no_lock_asks_for_and_what_was_left_half_done(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "modern")
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    kept, outdated = small.prefix("modern"), small.prefix("bare")
    (small.model / "bare" / "requirements.txt").write_text("# another lock\n")
    half = small.layout.environments / "Tiny-bare-0123456789ab"
    half.mkdir()
    (half / "made-by-admlops").touch()
    remains = small.layout.environments / ".Tiny-old.removing"
    remains.mkdir()
    planned = json.loads(small.admlops("env", "gc", "--dry-run", "--json").stdout)
    assert {Path(one["path"]) for one in planned} == {outdated, half, remains}
    assert outdated.is_dir()
    with hold(half.with_name(half.name + ".lock"), what="building it", say=print):
        said = small.admlops("env", "gc").stdout
    assert f"kept {half.name}" in said
    assert f"is in use: process {os.getpid()} on " in said
    assert not outdated.exists()
    assert not remains.exists()
    assert kept.is_dir()
    small.admlops("env", "gc")
    assert not half.exists()
    small.admlops("env", "verify", "Tiny", "--full")


def test_wheels_are_collected_only_on_request_and_never_those_in_use(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    (prefix / STATE_FILE).write_text(json.dumps({**state_of(prefix), "wheels": ["used-1"]}))
    for name in ("used-1", "unused-2"):
        (small.layout.wheels / name).mkdir(parents=True)
    small.admlops("env", "gc")
    assert (small.layout.wheels / "unused-2").is_dir()
    small.admlops("env", "gc", "--wheels")
    assert [path.name for path in small.layout.wheels.iterdir()] == ["used-1"]


def test_remove_asks_on_a_terminal(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    ours, theirs = os.openpty()
    command = ["admlops", "env", "remove", "Tiny"]
    with subprocess.Popen(command, env=small.variables, stdin=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.write(ours, b"n\n")
        _, said = process.communicate(timeout=60)
    assert f"remove {prefix.name}?" in said
    assert prefix.is_dir()
    assert process.returncode == 130
    for descriptor in (ours, theirs):
        os.close(descriptor)
    small.admlops("env", "remove", "Tiny", "--yes")
    assert not prefix.exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("verify", "Tiny"),
        ("repair", "Nothing"),
        ("show", "official/nothing"),
        ("remove", "Tiny-modern-000000000000"),
        ("variables", "Tiny"),
    ],
)
def test_what_is_not_there_is_an_error_with_the_next_command(small: SmallCheckout, command: str, name: str) -> None:
    ended = small.admlops("env", command, name, check=False)
    assert ended.returncode == 2
    assert "→ " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_failed_build_stands_in_nobodys_way_and_is_seen(small: SmallCheckout) -> None:
    """A ready environment, and beside it a build of the same locks by another installer that failed."""
    text = (small.model / "model.toml").read_text()
    lock = 'conda_lock = "conda/conda-lock.yml"'
    both = f'installers = ["venv", "conda"]\n{lock}'
    small.model.joinpath("model.toml").write_text(text.replace('installers = ["venv"]', both, 1))
    small.admlops("env", "install", "Tiny")
    ready = small.prefix("modern")
    failed = small.admlops(
        "env",
        "install",
        "Tiny",
        "--installer",
        "conda",
        check=False,
        variables={"ADMLOPS_CONDA_MIRROR": "http://127.0.0.1:9"},
    )
    assert failed.returncode == 2
    broken = next(path for path in small.layout.environments.glob("Tiny-modern-*") if path.is_dir() and path != ready)
    assert state_of(broken)["state"] == "broken"
    for command in (("pack",), ("repair",), ("show",), ("probe",), ("run", "--", "true")):
        arguments = ("env", command[0], "Tiny", *command[1:])
        assert small.admlops(*arguments).returncode == 0
    small.admlops("env", "push", "Tiny", "--to", small.layout.root / "store")
    rows = [row for row in json.loads(small.admlops("env", "list", "--json").stdout) if row["variant"] == "modern"]
    assert [row["prefix"] for row in rows] == [str(ready), str(broken)]
    assert rows[1]["status"].startswith("broken, ")
    verified = small.admlops("env", "verify", "Tiny", check=False)
    assert verified.returncode == 1
    assert f"{broken.name}: broken, " in verified.stdout
    assert f"{ready.name}: as its packages and lock say" in verified.stdout
    collected = small.admlops("env", "gc").stdout
    assert f"removed {broken.name}" in collected
    assert "another environment of the same locks is ready" in collected
    assert ready.is_dir()


def test_what_repairs_replaced_is_listed_and_removed_on_request(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    (prefix / "bin" / "mine").write_text("my own\n")
    [row] = json.loads(small.admlops("env", "repair", "Tiny", "--json").stdout)
    replaced = Path(row["replaced"])
    assert replaced.name.startswith(f"{prefix.name}.replaced-")
    earlier = prefix.with_name(f"{prefix.name}.aside-20260101-000000")
    earlier.mkdir()
    listed = json.loads(small.admlops("env", "list", "--json").stdout)
    kept = [one for one in listed if one["status"] == "files that a repair replaced: admlops env gc --replaced"]
    assert {one["prefix"] for one in kept} == {str(replaced), str(earlier)}
    assert "nothing to remove" in small.admlops("env", "gc").stdout
    assert (replaced / "bin" / "mine").read_text() == "my own\n"
    small.admlops("env", "gc", "--replaced")
    assert not replaced.exists()
    assert not earlier.exists()
    assert prefix.is_dir()


def test_what_the_first_version_kept_of_removed_environments_goes(small: SmallCheckout) -> None:
    kept = small.layout.environments / ".Tiny-modern-0123456789ab.aside"
    kept.mkdir(parents=True)
    (kept / "file").write_text("x" * 10_000)
    assert "a removed environment that admlops 0.1 kept" in small.admlops("env", "gc").stdout
    assert not kept.exists()


def test_removal_frees_the_disk_and_says_what_it_took(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    prefix = small.prefix("modern")
    [listed] = [row for row in json.loads(small.admlops("env", "list", "--json").stdout) if row["prefix"]]
    [row] = json.loads(small.admlops("env", "remove", "Tiny", "--purge", "--json").stdout)
    assert row["size_bytes"] == pytest.approx(listed["size_bytes"], abs=50_000)
    assert row["freed_bytes"] == row["size_bytes"]
    assert not list(small.layout.environments.glob(f"*{prefix.name}"))


def test_who_holds_an_environment_is_named(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--variant", "bare")
    prefix = small.prefix("bare")
    with hold(lock_of(prefix), what=f"repairing {prefix.name}", say=print):
        refused = small.admlops("env", "remove", "Tiny", check=False)
    assert refused.returncode == 2
    assert f"{prefix.name} is in use: process {os.getpid()} on " in refused.stderr
    assert f", which is repairing {prefix.name}" in refused.stderr
