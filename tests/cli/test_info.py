"""`admlops info`: what a bug report needs, and nothing that is nobody's business."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.typed import Typed

from admlops.health.disks import describe_disk, find_file_system
from admlops.pipeline.support import select_variables

SECRETS = {
    "ADMLOPS_S3_SECRET": "hunter2",
    "RUNPOD_API_KEY": "hunter3",
    "AWS_ACCESS_KEY_ID": "hunter4",
    "HF_TOKEN": "hunter5",
    "HTTPS_PROXY": "http://me:hunter6@proxy:3128/?key=hunter7",
    "ADMLOPS_PACK_STORE": "s3://user:hunter8@bucket/packs",
    "ADMLOPS_DOWNLOAD_MIRROR": "https://mirror/x?X-Amz-Signature=hunter9",
    "NO_PROXY": "//me:hunter10@inside,localhost",
}


def test_it_says_what_a_report_needs_and_keeps_secrets(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "me"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ADMLOPS_ENVIRONMENTS", str(home / "environments"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    said = typed("info", "--json")
    assert said.code == 0, said.err
    assert "hunter" not in said.out
    facts = json.loads(said.out)
    assert facts["admlops"]["version"]
    assert facts["machine"]["memory_mb"] > facts["machine"]["memory_available_mb"] > 0
    assert {"driver", "devices", "problem", "lost"} <= set(facts["machine"]["gpus"])
    assert [disk["what"] for disk in facts["disks"]][:3] == ["checkout", "repository", "environments"]
    assert facts["disks"][2]["folder"] == "~/environments"
    assert facts["variables"]["HTTPS_PROXY"] == "http://proxy:3128/"
    assert facts["variables"]["ADMLOPS_ENVIRONMENTS"] == "~/environments"
    assert facts["packages"]["click"]
    assert facts["programs"]["git"]
    text = typed("info")
    assert (text.code, "hunter" in text.out) == (0, False)
    for title in ("Machine", "Disks", "Programs", "Environments", "Variables"):
        assert f"\n{title}\n" in text.out


def test_only_variables_that_are_known_are_shown() -> None:
    shown = select_variables(
        {**SECRETS, "PATH": "/bin", "MY_OWN": "x", "CUDA_VISIBLE_DEVICES": "0", "https_proxy": "p"}
    )
    assert set(shown) == {
        *("HTTPS_PROXY", "https_proxy", "ADMLOPS_PACK_STORE", "ADMLOPS_DOWNLOAD_MIRROR", "CUDA_VISIBLE_DEVICES"),
        "NO_PROXY",
    }


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    disk = describe_disk(tmp_path / "not" / "there")
    assert disk is not None
    assert disk.total_mb >= disk.free_mb > 0
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {str(tmp_path).replace('_', chr(92) + '137')} nfs4 rw 0 0\n")
    assert find_file_system(tmp_path / "x", mounts=mounts) == "nfs4"
    assert find_file_system(Path(os.sep), mounts=mounts) == "ext4"
    assert find_file_system(tmp_path, mounts=tmp_path / "none") == ""
