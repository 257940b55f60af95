"""The parts of a build of compiled operations: keys, jobs, patches, logs, what failures mean, the smoke test."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests.environments.ops_fixtures import make_patch

from admlops.core.errors import EnvError
from admlops.environments.install.ops.expected import CORE_MINUTES, expect_minutes
from admlops.environments.install.ops.jobs import count_cores, max_jobs
from admlops.environments.install.ops.key import WheelKey, torch_arch_list
from admlops.environments.install.ops.log import count_objects, follow, read_tail
from admlops.environments.install.ops.patches import apply_patches, patches_digest, select_patches
from admlops.environments.install.ops.smoke import smoke_test
from admlops.health.machine import available_memory_bytes

GIGABYTE = 1_000_000_000
KEY = WheelKey(
    name="mmcv-full",
    version="1.7.2",
    source_sha256="a" * 64,
    patches="",
    torch="2.10.0+cu128",
    cuda="12.8",
    arch=("8.6", "12.0"),
    python="cpython-311-x86_64-linux-gnu",
    compiler="(conda-forge gcc 13.4.0-5) 13.4.0",
    libc="",
)


class TestKey:
    @pytest.mark.parametrize("name", [field.name for field in fields(WheelKey)])
    def test_every_field_changes_it(self, name: str) -> None:
        other: Any = ("9.0",) if name == "arch" else "other"
        assert replace(KEY, **{name: other}).folder != KEY.folder

    def test_it_is_the_same_tomorrow_and_readable(self) -> None:
        assert replace(KEY) == KEY
        assert KEY.folder.startswith("mmcv-full-1.7.2-cp311-torch2.10.0+cu128-cu128-")
        assert replace(KEY, cuda="cpu", arch=()).folder.startswith("mmcv-full-1.7.2-cp311-torch2.10.0+cu128-cpu-")

    def test_architectures_in_torchs_words(self) -> None:
        assert torch_arch_list(("sm_70", "sm_86", "sm_90a", "sm_120")) == ("7.0", "8.6", "9.0a", "12.0")


class TestJobs:
    @pytest.mark.parametrize(
        ("device", "cores", "memory_gb", "wanted", "expected"),
        [
            ("cpu", 8, 64, None, 8),  # cores are the limit
            ("cpu", 8, 5, None, 3),  # 4 GB to use, 1.3 GB a job
            ("cuda", 8, 5, None, 1),  # 4 GB to use, 2.2 GB a job
            ("cuda", 32, 45, None, 20),
            ("cpu", 8, 64, 2, 2),  # the user's wish is a limit too
            ("cpu", 2, 64, 16, 2),
            ("cuda", 8, 0.2, None, 1),  # one is always started
        ],
    )
    def test_as_many_as_fit(self, device: str, cores: int, memory_gb: float, wanted: int | None, expected: int) -> None:
        memory_bytes = int(memory_gb * GIGABYTE)
        assert max_jobs(device=device, wanted=wanted, cores=cores, memory_bytes=memory_bytes) == expected

    def test_a_containers_limits_count(self, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text("100000 100000\n")
        (tmp_path / "memory.max").write_text("1000000000\n")
        (tmp_path / "memory.current").write_text("900000000\n")
        (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 400000000\n")
        assert count_cores(tmp_path) == 1
        assert available_memory_bytes(tmp_path) == 500_000_000

    def test_an_older_containers_limits_count(self, tmp_path: Path) -> None:
        for name, text in {
            "cpu/cpu.cfs_quota_us": "150000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "800000000",
            "memory/memory.usage_in_bytes": "300000000",
        }.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        assert count_cores(tmp_path) == 1
        assert available_memory_bytes(tmp_path) == 500_000_000

    def test_the_tightest_of_nested_groups_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        membership = tmp_path / "membership"
        membership.write_text("4:memory:/slice/job\n1:cpu:/elsewhere\n0::/\n")
        monkeypatch.setattr("admlops.core.cgroups.MEMBERSHIP", membership)
        for folder, limit in {"memory": 10**12, "memory/slice": 900_000_000, "memory/slice/job": 10**12}.items():
            group = tmp_path / folder
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(limit))
            (group / "memory.usage_in_bytes").write_text("300000000")
        (tmp_path / "memory" / "slice" / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 50000000\n")
        assert available_memory_bytes(tmp_path) == 650_000_000

    def test_without_limits_the_machine_counts(self, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text("max 100000\n")
        (tmp_path / "memory.max").write_text("max\n")
        assert count_cores(tmp_path) >= 1
        assert available_memory_bytes(tmp_path) > 0


class TestPatches:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        """A source tree inside a repository that ignores it."""
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
        (tmp_path / ".gitignore").write_text("/tree/\n")
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "limits.py").write_text("newest = '1.7.0'\n")
        return tree

    @pytest.fixture
    def patch(self, tmp_path: Path) -> Path:
        path = tmp_path / "patches" / "limits" / "01-limits.patch"
        path.parent.mkdir(parents=True)
        path.write_text(make_patch("limits.py", "newest = '1.7.0'\n", "newest = '1.7.2'\n"))
        return path

    def test_a_tree_that_a_repository_ignores_is_changed(self, tree: Path, patch: Path) -> None:
        apply_patches(tree, (patch,))
        assert (tree / "limits.py").read_text() == "newest = '1.7.2'\n"

    def test_one_that_does_not_apply_names_file_and_patch(self, tree: Path, patch: Path) -> None:
        (tree / "limits.py").write_text("newest = '2.0.0'\n")
        with pytest.raises(EnvError, match=r"01-limits\.patch does not apply to tree") as caught:
            apply_patches(tree, (patch,))
        assert "limits.py" in caught.value.message

    def test_the_digest_follows_content_name_and_target(self, patch: Path) -> None:
        first = patches_digest([patch])
        assert first != patches_digest([])
        assert patches_digest([]) == ""
        renamed = patch.rename(patch.with_name("02-limits.patch"))
        second = patches_digest([renamed])
        renamed.write_text(renamed.read_text() + "\n")
        elsewhere = renamed.parent.parent / "mmcv_full" / renamed.name
        elsewhere.parent.mkdir()
        third = patches_digest([renamed])
        renamed.rename(elsewhere)
        assert len({first, second, third, patches_digest([elsewhere])}) == 4

    def test_each_target_gets_its_own_in_order(self, tmp_path: Path) -> None:
        names = ("source/b.patch", "source/a.patch", "mmcv_full/c.patch")
        patches = [tmp_path / name for name in names]
        assert [path.name for path in select_patches(patches, "source")] == ["a.patch", "b.patch"]
        assert [path.name for path in select_patches(patches, "mmcv-full")] == ["c.patch"]


class TestLog:
    def test_ninjas_count_is_read_from_a_growing_log(self, tmp_path: Path) -> None:
        log = tmp_path / "build.log"
        log.write_text("running build_ext\n")
        seen: list[tuple[str, int, int]] = []
        with follow(log, name="tiny", say=print, progress=lambda *event: seen.append(event)), log.open("a") as file:
            file.write("  [1/73] g++ -c a.cpp\n  [2/7")
            file.flush()
            wait_for(lambda: seen == [("tiny", 1, 73)])
            file.write("3] g++ -c b.cpp\n")
            file.flush()
            wait_for(lambda: seen[-1] == ("tiny", 2, 73))

    def test_only_ninjas_lines_count(self) -> None:
        assert count_objects(b"array[1/2] of\n") is None
        assert count_objects(b"[1/2] nvcc\n[2/2] nvcc\n") == (2, 2)

    def test_the_tail_shows_errors_that_are_further_up(self, tmp_path: Path) -> None:
        log = tmp_path / "build.log"
        log.write_text("x.cpp:3: error: no such thing\n" + "note\n" * 40 + "the end\n")
        tail = read_tail(log)
        assert "error: no such thing" in tail
        assert tail.endswith("the end")
        assert len(tail.splitlines()) < 20


class TestSmoke:
    def check(self, folder: Path, *modules: str) -> list[str]:
        checks = smoke_test(
            Path(sys.executable), variables={"PYTHONPATH": str(folder)}, modules=modules, name="Tiny-modern"
        )
        return [check["check"] for check in checks]

    def test_modules_that_import_pass(self, tmp_path: Path) -> None:
        (tmp_path / "talkative.py").write_text("print('hello', end='')\n__version__ = '3.1'\n")
        assert self.check(tmp_path, "talkative", "json") == ["import talkative", "import json"]

    def test_a_module_that_does_not_import_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("raise ImportError('libnothing.so.3: cannot open shared object file')\n")
        with pytest.raises(EnvError, match=r"Tiny-modern: .* does not work: import broken: .*libnothing\.so\.3"):
            self.check(tmp_path, "json", "broken")

    def test_a_known_failure_says_what_mends_it(self, tmp_path: Path) -> None:
        raising = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n"
        (tmp_path / "broken.py").write_text(raising)
        with pytest.raises(EnvError, match=r"which whatever draws windows wants") as caught:
            self.check(tmp_path, "broken")
        assert "libgl1" in caught.value.hint

    @pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "os._exit(0)"])
    def test_an_interpreter_that_dies_is_no_success(self, tmp_path: Path, end: str) -> None:
        (tmp_path / "deadly.py").write_text(f"import os\n{end}\n")
        with pytest.raises(EnvError, match=r"died with code .* after import json"):
            self.check(tmp_path, "json", "deadly")


def wait_for(condition: object, timeout_s: float = 30) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)


@pytest.mark.parametrize(("packages", "crowding", "times"), [(1, 1.0, 1.0), (2, 1.0, 2.0), (1, 3.5, 3.5)])
def test_compiling_takes_longer_where_others_compute(packages: int, crowding: float, times: float) -> None:
    found = expect_minutes(["mmcv"] * packages, device="cpu", jobs=1, crowding=lambda: crowding)
    assert found == pytest.approx(times * CORE_MINUTES["cpu"])
