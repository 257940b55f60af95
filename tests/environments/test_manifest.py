"""The manifest of a ready environment: what it lists, and what a verification by it finds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.environments.small_checkout import SmallCheckout

from admlops.environments.integrity.manifest import Manifest, read_manifest
from admlops.environments.prefix import MANIFEST_FILE, STATE_FILE


@pytest.fixture
def prefix(small: SmallCheckout) -> Path:
    small.admlops("env", "install", "Tiny")
    return small.prefix("modern")


def manifest_of(prefix: Path) -> Manifest:
    manifest = read_manifest(prefix)
    assert manifest is not None
    return manifest


def differences(small: SmallCheckout, *options: str) -> dict[str, tuple[str, str | None]]:
    """What `env verify` finds, by path: (reason, package)."""
    [row] = json.loads(small.admlops("env", "verify", "Tiny", *options, "--json", check=False).stdout)
    return {one["path"]: (one["reason"], one["package"]) for one in row["differences"]}


def test_every_file_is_listed_with_its_package(small: SmallCheckout, prefix: Path) -> None:
    manifest = manifest_of(prefix)
    listed = {entry.path: entry for entry in manifest.entries}
    there = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir() or path.is_symlink()}
    ours = {STATE_FILE, MANIFEST_FILE, "made-by-admlops", "bin/python"}
    assert {path for path, entry in listed.items() if entry.kind != "folder"} == there - ours
    core = next(path for path in listed if path.endswith("click/core.py"))
    assert (listed[core].owner, listed[core].size_bytes) == ("python:click", (prefix / core).stat().st_size)
    assert listed["pyvenv.cfg"].owner == ""
    assert manifest.interpreter is not None
    assert manifest.interpreter.link == "bin/python"


def edit_keeping_its_look(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"import", b"Import", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_changed_is_found_whoever_owns_it(small: SmallCheckout, prefix: Path) -> None:
    core = next(prefix.rglob("click/core.py"))
    record = next(prefix.glob("lib/python3*/site-packages/click-*.dist-info/RECORD"))
    for path in (core, record):
        edit_keeping_its_look(path) if path is core else path.write_text(path.read_text() + "\n")
    activate = prefix / "bin" / "activate"
    activate.write_text("echo mine\n")
    relative = {str(path.relative_to(prefix)): path for path in (core, record, activate)}
    assert differences(small).keys() == relative.keys() - {str(core.relative_to(prefix))}
    found = differences(small, "--full")
    assert found.keys() == relative.keys()
    assert found[str(core.relative_to(prefix))] == ("has another content than its package's", "click")
    assert found[str(record.relative_to(prefix))][1] == "click"
    assert found["bin/activate"][1] is None
    repaired = json.loads(small.admlops("env", "repair", "Tiny", "--json").stdout)[0]
    assert repaired["rebuilt"], "no package can bring back bin/activate"
    assert (Path(repaired["replaced"]) / "bin" / "activate").read_text() == "echo mine\n"
    small.admlops("env", "verify", "Tiny", "--full")


def test_a_link_and_a_permission_are_compared(small: SmallCheckout, prefix: Path) -> None:
    (prefix / "lib64").unlink()
    (prefix / "lib64").symlink_to("/tmp")
    core = next(prefix.rglob("click/core.py"))
    core.chmod(0o755)
    found = differences(small)
    assert found[str(core.relative_to(prefix))] == ("was made executable", "click")


def test_an_environment_without_a_manifest_is_verified_and_said(small: SmallCheckout, prefix: Path) -> None:
    """As admlops 0.1 left it."""
    (prefix / MANIFEST_FILE).unlink()
    said = small.admlops("env", "verify", "Tiny", "--full").stdout
    assert "held to its packages' lists, for it has no manifest: env repair writes one" in said
    core = next(prefix.rglob("click/core.py"))
    before = core.read_bytes()
    edit_keeping_its_look(core)
    assert differences(small, "--full").keys() == {str(core.relative_to(prefix))}
    core.write_bytes(before)
    small.admlops("env", "repair", "Tiny")
    assert manifest_of(prefix).digest == json.loads((prefix / STATE_FILE).read_text())["digest"]
    assert "no manifest" not in small.admlops("env", "verify", "Tiny", "--full").stdout


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}'])
def test_a_damaged_manifest_is_none(prefix: Path, content: str) -> None:
    (prefix / MANIFEST_FILE).write_text(content)
    assert read_manifest(prefix) is None


def test_variables_that_are_gone_are_said_and_computed_again(small: SmallCheckout, prefix: Path) -> None:
    before = (prefix / "admlops-activation.json").read_text()
    (prefix / "admlops-activation.json").unlink()
    refused = small.admlops("env", "run", "Tiny", "--", "true", check=False)
    assert refused.returncode == 2
    assert f"{prefix.name} lacks admlops-activation.json" in refused.stderr
    assert f"→ admlops env repair {prefix.name}" in refused.stderr
    assert "admlops-activation.json" in differences(small)
    small.admlops("env", "repair", "Tiny")
    assert (prefix / "admlops-activation.json").read_text() == before
    (prefix / "admlops-activation.json").unlink()
    said = small.admlops("env", "install", "Tiny").stderr
    assert f"{prefix.name} has no file of its variables, as of an earlier admlops: computing them" in said
    small.admlops("env", "run", "Tiny", "--", "true")


def packs_without_owners(manifest: Path) -> dict[str, Any]:
    """A pack's manifest as admlops 0.1 wrote it."""
    content: dict[str, Any] = json.loads(manifest.read_text())
    content["entries"] = [entry[:7] for entry in content["entries"]]
    manifest.write_text(json.dumps(content))
    return content


def test_a_pack_of_the_first_version_is_restored_and_gets_owners(small: SmallCheckout, prefix: Path) -> None:
    small.admlops("env", "pack", "Tiny")
    packs_without_owners(small.layout.packs / f"{prefix.name}.json")
    small.admlops("env", "remove", "Tiny")
    assert "restored Tiny-modern from its pack" in small.admlops("env", "install", "Tiny").stderr
    assert any(entry.owner == "python:click" for entry in manifest_of(prefix).entries)
    small.admlops("env", "verify", "Tiny", "--full")
