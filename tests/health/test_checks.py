"""Each health check against machines and installations that are not well."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.file_server import file_server
from tests.health.fake_nvml import Card, FakeNvml, divided

from admlops.catalog import load_model
from admlops.core.paths import Layout, find_layout
from admlops.environments.prefix import write_state
from admlops.pipeline.health import connectivity, dependencies, disk, files, gpu, memory, remote, system
from admlops.pipeline.health.check import Finding, HealthCheck, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A checkout's layout with folders of the test's own, a root without files, and no variables."""
    layout = Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")
    for folder in (layout.repository, layout.environments, tmp_path / "root" / "dev" / "shm"):
        folder.mkdir(parents=True)
    return Place(layout=layout, variables={}, nvml=FakeNvml(), root=tmp_path / "root")


def with_(place: Place, **changes: Any) -> Place:
    return Place(**{**{name: getattr(place, name) for name in ("layout", "variables", "nvml", "root")}, **changes})


def found(check: HealthCheck, place: Place) -> dict[str, Finding]:
    """The findings by measure; of several by `measure subject`."""
    findings = list(check.look(place))
    measures = [one.measure for one in findings]
    return {
        one.measure if measures.count(one.measure) == 1 else f"{one.measure} {one.subject}": one for one in findings
    }


def put(place: Place, path: str, text: str) -> None:
    (place.root / path).parent.mkdir(parents=True, exist_ok=True)
    (place.root / path).write_text(text)


def test_the_systems_limits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "etc/os-release", 'NAME="x"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    put(place, "sys/fs/cgroup/pids.max", "512\n")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 256))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.27"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64_000_000))
    seen = found(system.CHECK, place)
    assert seen["distribution"].value == "Ubuntu 22.04.5 LTS"
    assert (seen["open files"].value, seen["open files"].status) == (256, "warn")
    assert (seen["processes"].value, seen["processes"].status) == (256, "warn")
    assert (seen["shared memory"].value, seen["shared memory"].unit) == (64, "MB")
    assert {name for name, one in seen.items() if one.status != "pass"} == {
        *("open files", "processes", "shared memory", "C library")
    }


def test_a_containers_limit_counts_before_the_machines_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admlops.core.cgroups.MEMBERSHIP", place.root / "none")
    put(place, "sys/fs/cgroup/memory.max", "8000000000\n")
    put(place, "sys/fs/cgroup/memory.current", "7500000000\n")
    put(place, "sys/fs/cgroup/memory.events", "oom 3\noom_kill 2\n")
    seen = found(memory.CHECK, place)
    assert (seen["free container"].value, seen["free container"].status) == (500, "fail")
    assert (seen["kills for want of memory"].value, seen["kills for want of memory"].status) == (2, "warn")
    shutil.rmtree(place.root / "sys")
    assert found(memory.CHECK, place)["limit"].value == "none"


def test_a_disk_is_measured_once_for_all_its_places(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "proc/mounts", "a / ext4 rw 0 0\n")
    roomy = SimpleNamespace(f_bavail=10**6, f_frsize=10**5, f_files=10**6, f_favail=10**6)
    monkeypatch.setattr(os, "statvfs", lambda path: roomy)
    seen = found(disk.CHECK, place)
    assert {one.status for one in seen.values()} == {"pass"}
    assert any("repository" in one.subject and "environments" in one.subject for one in seen.values())


@pytest.mark.parametrize(
    ("free_mb", "files_free", "expected"),
    [(12_000, 10**6, {"free": "warn"}), (500, 10**6, {"free": "fail"}), (50_000, 50, {"free inodes": "fail"})],
)
def test_a_full_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch, free_mb: int, files_free: int, expected: dict[str, str]
) -> None:
    narrow = SimpleNamespace(f_bavail=free_mb, f_frsize=10**6, f_files=10**6, f_favail=files_free)
    monkeypatch.setattr(os, "statvfs", lambda path: narrow)
    bad = {one.measure: one.status for one in disk.CHECK.look(place) if one.status != "pass"}
    assert bad == expected


def test_environments_on_a_network_disk_are_slow(place: Place) -> None:
    put(place, "proc/mounts", "a / ext4 rw 0 0\nmfs#x / fuse.mfs rw 0 0\n")
    (slow,) = (one for one in disk.CHECK.look(place) if one.status == "warn" and one.measure == "file system")
    assert slow.value == "fuse.mfs"
    assert "environments" in slow.problem


def test_a_machine_without_gpu_is_no_fault(place: Place) -> None:
    seen = found(gpu.CHECK, place)
    assert {name: (one.value, one.status) for name, one in seen.items()} == {
        "driver": ("none", "pass"),
        "count": (0, "pass"),
    }


def test_a_pod_without_its_gpu(place: Place) -> None:
    pod = {"RUNPOD_POD_ID": "x", "RUNPOD_GPU_COUNT": "2"}
    none = found(gpu.CHECK, with_(place, variables=pod))["count"]
    assert none.status == "fail"
    assert none.problem == "this pod was rented with 2 GPUs, but its driver shows none"
    assert "stop this pod" in none.advice
    fewer = found(gpu.CHECK, with_(place, variables=pod, nvml=FakeNvml([Card()])))["count"]
    assert (fewer.status, fewer.problem[-20:]) == ("fail", "its driver shows only 1"[-20:])
    whole = with_(place, variables=pod, nvml=FakeNvml([divided("1g.18gb", "1g.18gb", "1g.18gb"), Card()]))
    assert next(one for one in gpu.CHECK.look(whole) if one.measure == "count").status == "pass"


def test_a_container_that_asks_for_gpus_is_warned(place: Place) -> None:
    asked = found(gpu.CHECK, with_(place, variables={"NVIDIA_VISIBLE_DEVICES": "all"}))["count"]
    assert (asked.status, asked.rule) == ("warn", "no-gpu")
    assert found(gpu.CHECK, with_(place, variables={"NVIDIA_VISIBLE_DEVICES": "void"}))["count"].status == "pass"


def test_a_driver_that_fails(place: Place) -> None:
    broken = FakeNvml([Card()], fails="Driver/library version mismatch")
    seen = found(gpu.CHECK, with_(place, nvml=broken))
    assert (seen["driver"].status, seen["driver"].rule) == ("fail", "driver-and-libraries-apart")
    assert seen["count"].status == "fail"


def test_a_card_that_is_lost_full_hot_or_broken(place: Place) -> None:
    cards = [
        Card(answers=False),
        Card(used_mib=140000),
        Card(temperature_c=91),
        Card(throttled=0x40),
        Card(ecc_errors=3),
    ]
    nvml = FakeNvml(cards)
    bad = {(one.subject[:5], one.measure): one.status for one in gpu.CHECK.look(with_(place, nvml=nvml)) if one.problem}
    assert bad == {
        ("GPU 0", "answers"): "fail",
        ("GPU 1", "free memory"): "warn",
        ("GPU 2", "temperature"): "warn",
        ("GPU 3", "temperature"): "warn",
        ("GPU 4", "uncorrected memory errors"): "fail",
    }


def test_slices_say_that_they_are(place: Place) -> None:
    seen = list(gpu.CHECK.look(with_(place, nvml=FakeNvml([divided("3g.71gb")]))))
    assert [one.value for one in seen if one.measure == "divided (MIG)"] == [True]


def test_the_driver_is_held_against_environments(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SimpleNamespace(name="MapTR-modern", driver=">=525", arch=("sm_80", "sm_90"))
    one = SimpleNamespace(name="MapTR-modern", state="ready", details={"device": "cuda"}, spec=spec)
    monkeypatch.setattr(gpu, "list_installed", lambda layout: [one])
    fits = found(gpu.CHECK, with_(place, nvml=FakeNvml([Card()])))
    assert not [name for name in fits if "environment" in name]
    old = found(gpu.CHECK, with_(place, nvml=FakeNvml([Card(capability=(7, 5))], driver="470.1")))
    assert "needs an NVIDIA driver >=525; this machine has 470.1" in old["driver for an environment"].problem
    assert old["kernels of an environment"].value == "sm_75"
    missing = found(gpu.CHECK, place)["count"]
    assert (missing.status, missing.problem) == ("warn", "MapTR-modern is built for CUDA, and there is no GPU")


def test_a_prefix_that_is_not_whole(place: Place) -> None:
    prefix = place.layout.environments / "GroundPlane-modern-1234"
    prefix.mkdir()
    tell = partial(write_state, prefix, name="GroundPlane-modern", digest="1234", installer="venv", details={})
    tell(state="building")
    seen = found(files.CHECK, place)["environment"]
    assert (seen.subject, seen.value, seen.status) == ("GroundPlane-modern-1234", "building", "warn")
    tell(state="ready")
    (prefix / "bin").mkdir()
    (prefix / "bin" / "stray").write_text("")
    changed = found(files.CHECK, place)["environment"]
    assert (changed.status, changed.problem) == ("fail", "bin/stray was added; no package has it, and 1 more")
    assert changed.advice.startswith("admlops env verify GroundPlane-modern-1234")


def test_a_checkpoint_that_nobody_recorded(place: Place) -> None:
    folder = place.layout.checkpoints / "MapTR"
    folder.mkdir(parents=True)
    model = load_model(place.layout, "MapTR")
    name, checkpoint = next(iter(model.checkpoints.items()))
    (folder / checkpoint.file).write_bytes(b"weights")
    seen = found(files.CHECK, place)
    assert (seen["checkpoint"].subject, seen["checkpoint"].status) == (f"MapTR {name}", "fail")
    assert "never checked" in seen["checkpoint"].problem
    assert [path.name for path in folder.iterdir()] == [checkpoint.file], "a check writes nothing"


def test_packages_are_held_against_the_lock(place: Place, tmp_path: Path) -> None:
    assert found(dependencies.CHECK, place)["missing packages"].value == 0
    root = tmp_path / "checkout"
    root.mkdir()
    digest = "0" * 64
    lines = [
        f"{one} --hash=sha256:{digest}" for one in ("click==0.0.1", "not-there==1", "never==1 ; python_version < '3'")
    ]
    (root / "requirements.txt").write_text("\n".join(lines) + "\n")
    layout = Layout(root=root, repository=tmp_path, environments=tmp_path)
    seen = found(dependencies.CHECK, with_(place, layout=layout))
    assert seen["locked packages"].value == 2
    assert (seen["missing packages"].status, seen["missing packages"].problem) == ("fail", "not-there")
    assert seen["packages of another version"].status == "warn"
    assert seen["packages of another version"].problem.endswith("(the lock has 0.0.1)")


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "_ask_index", lambda layout: "no such host")


@pytest.mark.usefixtures("no_index")
def test_off_line_is_a_state(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "ask_server", lambda address, timeout_s=1.0: "no such host")
    findings = list(connectivity.CHECK.look(place))
    assert findings[0].value == "off-line"
    assert len(findings) > 4
    assert {one.status for one in findings} == {"pass"}


@pytest.mark.usefixtures("no_index")
def test_one_that_is_silent_among_others_is_warned_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = "https://github.com"
    monkeypatch.setattr(
        connectivity, "ask_server", lambda address, timeout_s=1.0: "no route" if address == silent else None
    )
    bad = [one for one in connectivity.CHECK.look(place) if one.status != "pass"]
    assert sorted(one.subject.split()[-1] for one in bad) == [silent, "up"]
    assert {one.status for one in bad} == {"warn"}


@pytest.mark.usefixtures("no_index")
def test_what_was_set_for_this_machine_must_answer(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMLOPS_CONDA_MIRROR", "http://127.0.0.1:9")
    variables = {
        "ADMLOPS_DOWNLOAD_MIRROR": "http://me:secret@127.0.0.1:9/mirror",
        "ADMLOPS_PACK_STORE": str(tmp_path / "no-store"),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    findings = list(connectivity.CHECK.look(with_(place, variables=variables)))
    bad = {one.subject.split(" ")[0]: one for one in findings if one.status == "fail"}
    assert set(bad) == {"conda", "download", "pack", "tracking"}
    assert not any("secret" in f"{one.subject}{one.problem}{one.advice}" for one in findings)


def test_a_real_server_answers_whatever_it_says() -> None:
    with file_server() as server:
        assert connectivity.ask_server(f"{server.url}/nothing") is None
    assert connectivity.ask_server("http://127.0.0.1:9") is not None


def test_remote_conditions(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nAllowTcpForwarding yes\n")
    put(place, "etc/ssh/sshd_config.d/10-x.conf", "Match User a\n  AllowTcpForwarding yes\n")
    put(place, "proc/mounts", "a / nfs4 rw 0 0\n")
    put(place, "proc/net/tcp", "  0: 00000000:08AE 00000000:0000 0A 00000000:00000000\n")
    variables = {"HOME": str(tmp_path), "PATH": str(tmp_path), "RUNPOD_POD_ID": "x", "SSH_PORT": "2222"}
    seen = found(remote.CHECK, with_(place, variables=variables))
    assert seen["sshd"].value == "listens"
    assert seen["AllowTcpForwarding"].value == "yes"
    assert (seen["public port of ssh"].value, seen["public port of ssh"].status) == ("none", "warn")
    assert seen["file system"].status == "warn"
    assert {name for name, one in seen.items() if name.startswith("program")} == {
        *("program bash", "program tar", "program curl or wget")
    }
    put(place, "etc/ssh/sshd_config.d/05-x.conf", "AllowTcpForwarding no\n")
    assert found(remote.CHECK, with_(place, variables=variables))["AllowTcpForwarding"].status == "warn"
    closed = found(remote.CHECK, with_(place, variables={**variables, "SSH_PORT": "22"}))["sshd"]
    assert closed.status == "warn"


def test_an_old_kernel_is_too_old_for_the_server(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "4.4.0-210-generic")
    seen = found(remote.CHECK, with_(place, variables={"PATH": os.environ["PATH"], "HOME": "/"}))
    assert (seen["kernel"].status, seen["glibc"].status) == ("warn", "pass")
