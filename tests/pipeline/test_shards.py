"""Shards of a run on pods that do not reach each other, and the run that they make together."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.pods import Pod

from admlops.core.errors import UsageError
from admlops.datasets.base import Scene
from admlops.pipeline.shards import Shard, parse_shard, take_shard
from admlops.results.header import WhereInfo
from admlops.results.run_folder import RunFolder, records_digest
from admlops.synthetic import SynthesisOptions, synthesize

COUNT = 4
CPU = ("--device", "cpu", "--split", "all")


@dataclass(frozen=True)
class Pods:
    """One pod that ran everything, and where each of the others left its shard."""

    single: Pod
    shards: list[Path]

    def merge(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.single.type("results", "merge", *words)


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Pods:
    root = tmp_path_factory.mktemp("sharded")
    synthesize(root / "data", SynthesisOptions(scenes=5, samples=1, seed=3, scale=0.1))
    single = Pod.make(root / "single", data=root / "data", gpus=())
    done = single.type("run", "Chain", "--data", single.folder / "data", *CPU, "--run", "whole")
    assert done.returncode == 0, done.stderr
    shards = []
    for index in range(1, COUNT + 1):
        pod = Pod.make(root / f"pod-{index}", data=root / "data", gpus=())
        words = ("run", "Chain", "--data", pod.folder / "data", *CPU, "--shard", f"{index}/{COUNT}", "--run", "part")
        done = pod.type(*words)
        assert done.returncode == 0, done.stderr
        assert "of 5 samples of split all" in done.stdout
        shards.append(pod.folder / "repository" / "runs" / "part")
    return Pods(single, shards)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_shards_merge_to_the_run_of_one_machine(pods: Pods) -> None:
    planned = pods.merge(*pods.shards, "--run", "planned", "--dry-run", "--json")
    assert json.loads(planned.stdout)["samples"] == 5
    assert not (pods.single.folder / "repository" / "runs" / "planned").exists()

    done = pods.merge(*reversed(pods.shards), "--run", "merged", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shards"] == COUNT
    merged, whole = pods.single.run("merged"), pods.single.run("whole")
    assert records_digest(merged) == records_digest(whole)
    assert {record.metadata.run for record in merged.records()} == {"merged"}
    assert merged.header.data == msgspec.structs.replace(whole.header.data, root=merged.header.data.root)
    assert merged.header.scenes == whole.header.scenes
    assert merged.check_manifest() == []
    assert sorted(path.name for path in (merged.path / "shards").iterdir()) == ["1", "2", "3", "4"]

    again = pods.merge(*pods.shards, "--run", "merged")
    refused(again, "is there already")


def test_shards_of_chosen_samples_merge_with_their_condition(pods: Pods) -> None:
    words = ("run", "Chain", "--data", pods.single.folder / "data", *CPU, "--where", "scene != 'scene-0061'")
    for name, more in (("chosen", ()), ("chosen-1", ("--shard", "1/2")), ("chosen-2", ("--shard", "2/2"))):
        done = pods.single.type(*words, *more, "--run", name)
        assert done.returncode == 0, done.stderr
        assert "evaluated are the 4 where scene != 'scene-0061'" in done.stdout
    parts = [pods.single.run(f"chosen-{index}").path for index in (1, 2)]
    done = pods.merge(*parts, "--run", "chosen-merged")
    assert done.returncode == 0, done.stderr
    merged, whole = pods.single.run("chosen-merged"), pods.single.run("chosen")
    assert merged.header.data == msgspec.structs.replace(whole.header.data, root=merged.header.data.root)
    assert isinstance(whole.header.data.where, WhereInfo)
    assert (len(whole.header.scenes), whole.header.data.where.samples) == (4, 4)
    assert whole.header.data.split is None


def test_a_missing_a_double_and_a_foreign_shard_are_refused_by_name(pods: Pods, tmp_path: Path) -> None:
    first, second, third, fourth = pods.shards
    refused(pods.merge(first, second, fourth, "--run", "x"), "of 4 shards 3 is missing", "--shard 1/4")
    refused(pods.merge(first, second, third, second, "--run", "x"), "shard 2/4 is there twice", str(second))
    foreign = shutil.copytree(fourth, tmp_path / "foreign")
    run = RunFolder.open(foreign)
    header = msgspec.structs.replace(run.header, adapter="0" * 64)
    (foreign / "run.json").write_bytes(msgspec.json.encode(header))
    refused(pods.merge(first, second, third, foreign, "--run", "x"), str(foreign), "adapter")
    whole = pods.single.run("whole").path
    refused(pods.merge(first, whole, "--run", "x"), str(whole), "not a shard")
    assert not (pods.single.folder / "repository" / "runs" / "x").exists()


def test_an_unfinished_and_a_damaged_shard_are_refused(pods: Pods, tmp_path: Path) -> None:
    *others, last = pods.shards
    cut = shutil.copytree(last, tmp_path / "cut")
    next((cut / "records").iterdir()).unlink()
    refused(pods.merge(*others, cut, "--run", "x"), "shard 4/4", "1 of 1 scenes are missing", "--resume")
    damaged = shutil.copytree(last, tmp_path / "damaged")
    records = next((damaged / "records").iterdir())
    records.write_bytes(records.read_bytes().replace(b"car", b"cab"))
    refused(pods.merge(*others, damaged, "--run", "x"), str(damaged), "manifest")


def test_more_shards_than_scenes_are_refused(pods: Pods) -> None:
    words = ("run", "Chain", "--data", pods.single.folder / "data", *CPU, "--shard")
    refused(pods.single.type(*words, "6/6"), "5 scenes", "--shard I/5")
    refused(pods.single.type(*words, "5/4"), "--shard '5/4'", "--shard 1/4")


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40), data=st.data())
def test_every_scene_is_in_one_shard_and_shards_are_balanced(sizes: list[int], data: st.DataObject) -> None:
    scenes = [
        Scene(name=f"s{number}", token="", location="", samples=tuple(f"{number}-{index}" for index in range(size)))
        for number, size in enumerate(sizes)
    ]
    count = data.draw(st.integers(1, len(sizes)))
    parts = [take_shard(scenes, Shard(index=index, count=count)) for index in range(1, count + 1)]
    assert all(parts)
    assert sorted(one.name for part in parts for one in part) == sorted(one.name for one in scenes)
    loads = [sum(len(one.samples) for one in part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes)
    for part in parts:
        assert [one.name for one in part] == [one.name for one in scenes if one in part]


@pytest.mark.parametrize("text", ["0/4", "4", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)
