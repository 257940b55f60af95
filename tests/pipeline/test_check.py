"""`admlops check` for real: a model with a source of its own, the embedded model, and what keeps them from working."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import OpenLaneScenes

from admlops.catalog import load_model
from admlops.core.errors import CatalogError, DataError, RunFailedError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.datasets.base import Dataset
from admlops.environments import ensure_model
from admlops.execution.deadlines import DEFAULT_DEADLINES
from admlops.pipeline import check
from admlops.pipeline.check import Checked, CheckRequest, check_model, plan_comparison
from admlops.pipeline.default_data import ensure_data, find_missing
from admlops.pipeline.run_data import RunData
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import Selection
from admlops.reports import write_report
from admlops.results.runs import find_run
from admlops.sources.checkouts import fetch_source, list_sources
from admlops.synthetic import small
from admlops.synthetic.openlane_writer import OpenLaneOptions

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]


def draw(target: Path, run: RunData, data: Dataset) -> Path:
    return write_report(target, [run], None, data=data)


IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
MODEL = """
name = "Own"
summary = "A straight lane, from a repository of its own."
tasks = ["vector_map"]
license = "MIT"
frame = "ego"
box_convention = "standard"
temporal = false
default_variant = "modern"
default_checkpoint = "best"
[source]
kind = "git"
repository = "https://code.invalid/Own"
commit = "{commit}"
[variants.modern]
python = ">=3.11"
backends = ["venv"]
requirements = "modern/requirements.txt"
[variants.classic]
python = ">=3.11"
backends = ["venv"]
requirements = "modern/requirements.txt"
[classes]
vector_map = ["divider"]
[configs]
plain = "plain.py"
[checkpoints.best]
config = "plain"
file = "best.pth"
url = "https://code.invalid/best.pth"
sha256_from = "first download"
"""
ADAPTER = """
import sys
from pathlib import Path

sys.path.insert(0, {runners!r})
sys.path.insert(0, ".")

from worker.adapter import Adapter, DataError
from worker.main import main
import plain


class Own(Adapter):
    name = "Own"

    def load(self, settings):
        assert settings.options["weights"] == "random:0"
        return []

    def prepare(self, sample):
        if Path("no-pictures").exists():
            raise DataError("a picture is missing")

    def forward(self, inputs):
        if Path("broken").exists():
            raise RuntimeError("the network is broken")

    def convert(self, raw, sample):
        points = [[-30.0, plain.LEFT_M], [30.0, plain.LEFT_M]]
        return {{"map_elements": [{{"id": 0, "type": "divider", "points": points, "confidence": 0.5}}]}}


if __name__ == "__main__":
    sys.exit(main(Own))
"""


@dataclass(frozen=True)
class Project:
    """A checkout with one model whose source is no submodule of it, fetched and built, and a data set."""

    layout: Layout
    data: Path

    @property
    def source(self) -> Path:
        return self.layout.submodules / "Own"

    def check(self, *, variant: str | None = None, data: Path | None = None, full: bool = False) -> Checked:
        def make(model: str, root: Path) -> RunRequest:
            return RunRequest(model=model, data=root, variant=variant, device="cpu")

        request = CheckRequest(
            model="Own", make_request=make, draw=draw, variant=variant, data=data or self.data, full=full
        )
        return check_model(
            self.layout,
            request,
            say=lambda line: None,
            show_progress=lambda: nullcontext(lambda event, total: None),
            hashing=lambda label: nullcontext(None),
        )


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *IDENTITY, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, synthetic_root: Path) -> Project:
    folder = tmp_path_factory.mktemp("check")
    remote, root = folder / "remotes" / "Own", folder / "checkout"
    remote.mkdir(parents=True)
    (remote / "plain.py").write_text("LEFT_M = 1.75\n")
    git(remote, "init", "--quiet")
    git(remote, "add", "--all")
    git(remote, "commit", "--quiet", "-m", "begin")
    own = root / "envs" / "Own"
    (own / "modern").mkdir(parents=True)
    (own / "model.toml").write_text(MODEL.format(commit=git(remote, "rev-parse", "HEAD")))
    (own / "modern" / "requirements.txt").write_text("# no packages\n")
    (own / "demo.py").write_text(ADAPTER.format(runners=str(find_layout().root / "runners")))
    (root / "runners").symlink_to(find_layout().root / "runners")
    git(folder, "init", "--quiet", str(root))
    layout = Layout(root=root, repository=folder / "repository", environments=folder / "environments")
    data = folder / "nuscenes"
    shutil.copytree(synthetic_root, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_COUNT", "1")
        patch.setenv("GIT_CONFIG_KEY_0", f"url.{remote.parent}/.insteadOf")
        patch.setenv("GIT_CONFIG_VALUE_0", "https://code.invalid/")
        (source,) = list_sources(layout, [load_model(layout, "Own")])
        fetch_source(layout, source, say=print)
    ensure_model(layout, load_model(layout, "Own"), say=print)
    return Project(layout, data)


def test_a_model_with_a_source_of_its_own_works_without_being_a_submodule(project: Project) -> None:
    checked = project.check(full=True)
    assert checked.error is None, checked.error
    assert [(one.name, one.ok) for one in checked.steps] == [
        (name, True) for name in ("sources", "environment", "probe", "adapter", "data", "run", "evaluation", "report")
    ]
    assert checked.random_weights, "the catalogue's weights were not fetched"
    assert checked.run is not None
    run = find_run(project.layout, checked.run)
    assert run.header.random_weights == "random:0"
    assert len(list(run.records())) == check.SAMPLES
    assert [one.map_elements[0].points[0][1] for one in run.records() if one.map_elements] == [1.75, 1.75]
    assert run.metrics_path.is_file()
    assert checked.report is not None
    assert checked.report.stat().st_size > 10_000


def last(checked: Checked) -> tuple[str, bool]:
    return checked.steps[-1].name, checked.steps[-1].ok


def test_a_model_that_fails_ends_with_1(project: Project) -> None:
    broken = project.source / "broken"
    broken.touch()
    try:
        checked = project.check()
    finally:
        broken.unlink()
    assert last(checked) == ("run", False)
    assert isinstance(checked.error, RunFailedError)
    assert "the network is broken" in checked.error.message
    assert checked.error.exit_code == 1
    assert checked.to_json()["error"]["hint"]


def test_data_that_fail_are_not_the_models_fault(project: Project) -> None:
    missing = project.source / "no-pictures"
    missing.touch()
    try:
        checked = project.check()
    finally:
        missing.unlink()
    assert last(checked) == ("run", False)
    assert isinstance(checked.error, DataError)


def test_changed_sources_stop_the_check_before_anything_runs(project: Project) -> None:
    file = project.source / "plain.py"
    before = file.read_text()
    file.write_text("LEFT_M = 99.0\n")
    try:
        checked = project.check()
    finally:
        file.write_text(before)
    assert [one.name for one in checked.steps] == ["sources"]
    assert checked.error is not None
    assert "tracked files were changed: plain.py" in checked.error.message
    assert checked.error.hint == "admlops sources fetch Own"


def test_a_variant_that_is_not_built_is_named_with_the_command_that_builds_it(project: Project) -> None:
    checked = project.check(variant="classic")
    assert last(checked) == ("environment", False)
    assert checked.error is not None
    assert checked.error.exit_code == 2
    assert checked.error.hint == "admlops env install Own --variant classic"
    unknown = project.check(variant="nope")
    assert isinstance(unknown.error, CatalogError)
    assert "modern, classic" in unknown.error.message


def test_a_damaged_environment_stops_the_check(project: Project) -> None:
    (config,) = project.layout.environments.glob("*/pyvenv.cfg")
    prefix = config.parent
    packages = next(prefix.glob("lib/python*/site-packages"))
    (packages / "intruder.py").write_text("x = 1\n")
    try:
        checked = project.check()
    finally:
        (packages / "intruder.py").unlink()
    assert last(checked) == ("environment", False)
    assert checked.error is not None
    assert "intruder.py" in checked.error.message
    assert checked.error.hint == f"admlops env repair {prefix.name}"


def test_a_model_without_an_adapter_is_said_to_have_none(project: Project) -> None:
    adapter = project.layout.envs / "Own" / "demo.py"
    adapter.rename(adapter.with_suffix(".away"))
    try:
        checked = project.check()
    finally:
        adapter.with_suffix(".away").rename(adapter)
    assert last(checked) == ("adapter", False)
    assert checked.error is not None
    assert "has no adapter yet" in checked.error.message


def captured_request(project: Project, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> RunRequest:
    """What the check asks `run_model` for, with these changes to the user's request."""
    asked: list[RunRequest] = []

    def capture(layout: Layout, request: RunRequest, **watchers: Any) -> Any:
        asked.append(request)
        raise UsageError("that is enough", hint="nothing")

    def make(model: str, root: Path) -> RunRequest:
        return replace(RunRequest(model=model, data=root, device="cpu"), **changes)

    with monkeypatch.context() as patch:
        patch.setattr(check, "run_model", capture)
        check_model(
            project.layout,
            CheckRequest(model="Own", make_request=make, draw=draw, data=project.data),
            say=lambda line: None,
            show_progress=lambda: nullcontext(lambda event, total: None),
            hashing=lambda label: nullcontext(None),
        )
    return asked[0]


def test_a_network_on_a_cpu_has_time_unless_a_limit_is_given(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = captured_request(project, monkeypatch)
    assert plain.deadlines.call_s == check.CPU_CALL_S > DEFAULT_DEADLINES.call_s
    assert (plain.weights, plain.selection.limit) == ("random:0", check.SAMPLES)
    asked = captured_request(
        project, monkeypatch, deadlines=DEFAULT_DEADLINES.with_call(7), selection=Selection(limit=5), device="cuda:0"
    )
    assert (asked.deadlines.call_s, asked.selection.limit) == (7, 5)
    assert captured_request(project, monkeypatch, device="cuda:0").deadlines == DEFAULT_DEADLINES


def test_weights_that_were_fetched_are_taken(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = project.layout.checkpoints / "Own" / "best.pth"
    assert [one.models for one in find_missing(project.layout, [load_model(project.layout, "Own")])][1] == ("Own",)
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    try:
        assert captured_request(project, monkeypatch).weights is None
        missing = find_missing(project.layout, [load_model(project.layout, "Own")])
    finally:
        weights.unlink()
    assert [one.name for one in missing] == ["nuScenes"]


def test_the_quota_of_a_host_is_named_where_weights_come_from_it(layout: Layout) -> None:
    missing = find_missing(layout, [load_model(layout, name) for name in ("MapTR", "TopoMLP", "VAD")])
    weights = {one.models: one.how for one in missing if one.kind == "weights"}
    assert set(weights) == {("MapTR", "VAD"), ("TopoMLP",)}
    assert "Google Drive" in weights["MapTR", "VAD"]
    assert "admlops checkpoints fetch TopoMLP" in weights["TopoMLP",]
    assert "Google Drive" not in weights["TopoMLP",]


@pytest.fixture
def small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SCENES", 1), ("SAMPLES", 4), ("SCALE", 0.1)):
        monkeypatch.setattr(small, name, value)


@pytest.mark.usefixtures("small_scenes")
@pytest.mark.parametrize(
    ("kind", "made", "real", "mark"),
    [
        ("nuscenes", "synthetic", "nuscenes", "v1.0-trainval/sample.json"),
        ("openlanev2", "synthetic-openlane", "OpenLane-V2", "data_dict_subset_B.json"),
    ],
)
def test_real_data_are_taken_where_they_are_set_up_else_synthetic_scenes(
    layout: Layout, kind: str, made: str, real: str, mark: str
) -> None:
    said: list[str] = []
    (layout.data / real).mkdir(parents=True)  # an empty folder is no data set
    assert ensure_data(layout, kind, say=said.append) == layout.data / made
    assert said[-1] == "synthetic scenes: 4 of 4 key frames"
    said.clear()
    assert ensure_data(layout, kind, say=said.append) == layout.data / made
    assert said == [], "made once"
    (layout.data / real / mark).parent.mkdir(exist_ok=True)
    (layout.data / real / mark).write_text("{}")
    assert ensure_data(layout, kind, say=said.append) == layout.data / real


def test_what_a_person_must_fetch_is_said_of_the_models_that_want_it(admlops: Admlops, tmp_path: Path) -> None:
    topomlp = admlops("check", "--missing", "TopoMLP").stdout
    assert "OpenLane-V2: accept its terms" in topomlp
    assert "(for TopoMLP)" in topomlp
    assert "nuScenes" not in topomlp
    (tmp_path / "repository" / "data" / "nuscenes" / "v1.0-mini").mkdir(parents=True)
    (tmp_path / "repository" / "data" / "nuscenes" / "v1.0-mini" / "sample.json").write_text("[]")
    assert admlops("check", "--missing", "GroundPlane").stdout == "nothing is missing\n"
    (weights,) = json.loads(admlops("check", "--missing", "MapTR", "--json").stdout)
    assert (weights["kind"], weights["models"]) == ("weights", ["MapTR"])
    assert "admlops checkpoints add MapTR NAME FILE" in weights["how"]


def test_a_comparison_gets_the_data_that_its_models_read(
    project: Project, layout: Layout, openlane: OpenLaneScenes
) -> None:
    lanes = openlane(OpenLaneOptions(scenes=1, samples=1, seed=1, scale=0.1))
    plan = plan_comparison(project.layout, ["Own"], data=project.data, also=None, device="cpu", say=print)
    assert (plan.data, plan.also, plan.limit) == (project.data, None, check.SAMPLES)
    on_gpu = plan_comparison(project.layout, ["Own"], data=project.data, also=None, device="cuda:0", say=print)
    assert on_gpu.limit is None
    both = plan_comparison(project.layout, ["Own"], data=lanes, also=project.data, device="cpu", say=print)
    assert (both.data, both.also) == (lanes, project.data)
    embedded = plan_comparison(layout, ["GroundPlane", "TopoMLP"], data=project.data, also=None, say=print)
    assert (embedded.also, embedded.limit) == (None, None), "TopoMLP is not set up here, so nothing is made for it"


@pytest.mark.usefixtures("groundplane_environment")
def test_the_command_checks_one_model(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    done = admlops("check", "GroundPlane", "--data", synthetic_root, "--limit", "1")
    assert done.stdout.splitlines()[-1] == "GroundPlane works"
    assert list((tmp_path / "repository" / "runs").glob("check-GroundPlane-*/report.html"))


def test_the_command_says_what_is_not_so(admlops: Admlops, tmp_path: Path) -> None:
    none = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "none")}
    refused = admlops("check", "GroundPlane", "MapTR", "--json", check=False, variables=none)
    assert refused.returncode == 2
    groundplane, maptr = json.loads(refused.stdout)
    assert (groundplane["works"], groundplane["steps"][-1]["step"]) == (False, "environment")
    assert groundplane["error"]["hint"] == "admlops env install GroundPlane --variant modern"
    assert maptr["works"] is False
    for wrong, said in (
        (("check", "GroundPlane", "Nope"), 'no model is called "Nope"'),
        (("check", "--full"), "--full is for the environment of one MODEL"),
        (("check", "GroundPlane", "--models", "MapTR"), "are for a comparison"),
        (("check", "--models", "Nope"), 'no model is called "Nope"'),
    ):
        completed = admlops(*wrong, check=False, variables=none)
        assert completed.returncode == 2
        assert said in completed.stderr
        assert "→" in completed.stderr


@pytest.mark.full
@pytest.mark.usefixtures("groundplane_environment")
def test_the_command_compares_all_models(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    done = admlops("check", "--data", synthetic_root, "--limit", "1", "--out", tmp_path / "out", "--fresh")
    states = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(("GroundPlane", "MapTR"))}
    assert states["GroundPlane"].split()[1] == "ready"
    assert "MapTR" in states
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "comparison_summary.json").is_file()
