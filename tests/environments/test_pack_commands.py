"""Packs by the real command: made, restored, pushed, pulled; real conda and virtual environments."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.environments.pack_prefix import tree_of
from tests.environments.small_checkout import SmallCheckout


def core(prefix: Path) -> Path:
    return next(prefix.glob("lib/python3*/site-packages/click/core.py"))


def packs(small: SmallCheckout) -> list[Path]:
    return sorted(path for path in small.layout.packs.glob("*") if path.suffix in (".tar", ".zst"))


@pytest.mark.parametrize("variant", [pytest.param("conda", marks=pytest.mark.full), "modern"])
def test_an_environment_comes_back_from_its_pack(small: SmallCheckout, variant: str) -> None:
    chosen = ("Tiny", "--variant", variant)
    small.admlops("env", "install", *chosen)
    prefix = small.prefix(variant)
    shown = small.admlops("env", "pack", *chosen).stdout
    assert str(packs(small)[0]) in shown
    before = tree_of(prefix)
    small.admlops("env", "remove", *chosen, "--yes")
    assert not prefix.exists()
    said = small.admlops("env", "install", *chosen, "--json")
    assert "restored" in said.stderr
    assert tree_of(prefix) == before
    assert "as its packages and lock say" in small.admlops("env", "verify", *chosen, "--full").stdout
    ran = small.admlops("env", "run", *chosen, "--", "python", "-c", "import click; print(click.__name__)")
    assert ran.stdout.strip() == "click"


@pytest.mark.full
def test_install_keeps_a_pack_where_it_is_asked_to(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    assert packs(small) == [], "packs and environments are on one disk here"
    small.admlops("env", "install", "Tiny", "--pack")
    (archive,) = packs(small)
    assert archive.suffix == ".tar", "on one disk a pack is stored as it is"
    made = archive.stat().st_mtime_ns
    small.admlops("env", "install", "Tiny", "--pack")
    assert archive.stat().st_mtime_ns == made, "a pack that is there is kept"
    small.admlops("env", "remove", "Tiny", "--yes")
    assert "restored" not in small.admlops("env", "install", "Tiny", "--no-pack", "--json").stderr


def test_on_a_pod_an_environment_comes_back_by_the_same_command(small: SmallCheckout) -> None:
    """Packs on a disk that stays, environments on one that does not: nobody has to ask for a pack."""
    stays = Path("/dev/shm")
    if not os.access(stays, os.W_OK) or stays.stat().st_dev == small.layout.root.stat().st_dev:
        pytest.skip("needs /dev/shm, writable and not the file system of the temporary files")
    with tempfile.TemporaryDirectory(dir=stays) as folder:
        command = ("env", "install", "Tiny", "--variant", "modern", "--json")
        small.admlops(*command, variables={"ADMLOPS_REP_PATH": folder})
        (archive,) = Path(folder, "packs").glob("*.tar.zst")
        assert archive.name == f"{small.prefix('modern').name}.tar.zst"
        subprocess.run(["rm", "-r", small.layout.environments], check=True)
        assert "restored" in small.admlops(*command, variables={"ADMLOPS_REP_PATH": folder}).stderr


def test_a_damaged_pack_costs_only_time(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny", "--pack")
    (archive,) = packs(small)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    small.admlops("env", "remove", "Tiny", "--yes")
    said = small.admlops("env", "install", "Tiny", "--json").stderr
    assert f"the pack {archive} is damaged" in said
    assert "as its packages and lock say" in small.admlops("env", "verify", "Tiny", "--full").stdout


def test_a_pack_that_cannot_be_kept_keeps_no_environment_from_being_built(small: SmallCheckout) -> None:
    small.layout.repository.mkdir(exist_ok=True)
    small.layout.packs.write_text("in the way")
    failed = small.admlops("env", "install", "Tiny", "Tiny", "--pack", "--json", check=False)
    assert failed.returncode == 2
    assert [row["name"] for row in json.loads(failed.stdout)] == ["Tiny-modern", "Tiny-modern"]
    assert str(small.layout.packs) in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_edited_environment_is_not_packed(small: SmallCheckout) -> None:
    small.admlops("env", "install", "Tiny")
    core(small.prefix("modern")).write_text("edited = True\n")
    refused = small.admlops("env", "pack", "Tiny", check=False)
    assert refused.returncode == 2
    assert "click/core.py" in refused.stderr
    assert "admlops env repair" in refused.stderr
    assert packs(small) == []


@pytest.mark.full
def test_packs_travel_through_a_folder(small: SmallCheckout, tmp_path: Path) -> None:
    store = tmp_path / "volume"
    small.admlops("env", "install", "Tiny")
    pushed = json.loads(small.admlops("env", "push", "Tiny", "--to", store, "--json").stdout)
    assert pushed[0]["sent_bytes"] > 0
    again = small.admlops("env", "push", "Tiny", "--json", variables={"ADMLOPS_PACK_STORE": str(store)})
    assert json.loads(again.stdout)[0]["sent_bytes"] == 0
    small.admlops("env", "remove", "Tiny", "--yes")
    subprocess.run(["rm", "-r", small.layout.packs], check=True)
    small.admlops("env", "pull", "Tiny", "--from", store)
    assert "restored" in small.admlops("env", "install", "Tiny", "--json").stderr

    missing = small.admlops("env", "pull", "Tiny", "--variant", "bare", "--from", store, check=False)
    assert missing.returncode == 2
    assert "holds no pack that the locks of Tiny ask for (Tiny-bare-" in missing.stderr
    unknown = small.admlops("env", "push", "Tiny", "--to", "ftp://host/packs", check=False)
    assert unknown.returncode == 2
    assert "ftp://host/packs" in unknown.stderr
