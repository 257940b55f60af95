"""Compiled operations: built once, found again, refused when they are not what they should be."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.environments.ops_fixtures import (
    EXTENSION,
    NAME,
    TORCH_VERSION,
    Workshop,
    make_patch,
    make_tool_environment,
    make_workshop,
    needs_compiler,
)

from admlops.core.errors import EnvError
from admlops.environments import EnvironmentSpec
from admlops.environments.install.ops import build_ops
from admlops.environments.install.ops.compile import compiled_modules
from admlops.environments.install.ops.expected import expect_compiling
from admlops.environments.spec.requirements import read_lock

pytestmark = needs_compiler
HELD_UP = """
from pathlib import Path
if "bdist_wheel" in sys.argv:
    Path({begun!r}).touch()
    while Path({hold!r}).exists():
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def tool_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tool_environment(tmp_path_factory.mktemp("tools") / "prefix")


@pytest.fixture
def workshop(tmp_path: Path, tool_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return make_workshop(tmp_path, tool_environment, monkeypatch)


def test_a_wheel_is_built_once_and_says_what_it_depends_on(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = workshop.publish()
    (wheel,) = workshop.build(spec)
    assert any(name.startswith("tinyops/_ext.") for name in compiled_modules(wheel))
    described = json.loads((wheel.parent / "key.json").read_text())
    assert described["key"]["torch"] == TORCH_VERSION
    assert described["key"]["cuda"] == "cpu"
    assert spec.requirements[0].read_text().endswith(f"sha256:{described['key']['source_sha256']}\n")
    assert any("compiling tinyops 1.0 for cpu with g++" in text for text in workshop.said)

    workshop.said.clear()
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    assert workshop.build(spec) == [wheel]
    assert workshop.said == [], "a wheel that is there is neither fetched nor built"


def test_only_what_no_wheel_can_serve_is_expected_to_be_compiled(workshop: Workshop) -> None:
    spec = workshop.publish()

    def expected(spec: EnvironmentSpec, python_version: str = platform.python_version()) -> tuple[str, ...]:
        locked = read_lock(spec.requirements[0])
        return expect_compiling(spec, locked, python_version=python_version, wheels=workshop.layout.wheels)

    assert expected(spec) == (NAME,)
    workshop.build(spec)
    assert expected(spec) == ()
    assert expected(spec, "3.8.20") == (NAME,)
    assert expected(replace(spec, device="cuda")) == (NAME,)
    (described,) = workshop.layout.wheels.glob("*/key.json")
    text = described.read_text()
    described.write_text("{}")
    assert expected(spec) == (NAME,)
    described.write_text(text)
    assert expected(spec) == ()
    assert expected(workshop.publish(files="# changed\n")) == (NAME,), "the lock names another source"


@pytest.mark.full
def test_another_source_torch_or_patch_is_another_wheel(workshop: Workshop, tmp_path: Path) -> None:
    spec = workshop.publish()
    first = workshop.build(spec)[0]
    other = workshop.publish(files="# changed\n")
    second = workshop.build(other)[0]
    patch = tmp_path / "patches" / NAME / "01-answer.patch"
    patch.parent.mkdir(parents=True)
    patch.write_text(make_patch("tinyops/ext.c", EXTENSION, EXTENSION.replace("42", "43")))
    third = workshop.build(replace(other, patches=(patch,)))[0]
    assert len({first.parent, second.parent, third.parent}) == 3
    assert workshop.wheels() == sorted([first, second, third])


def test_a_damaged_wheel_is_built_again(workshop: Workshop) -> None:
    spec = workshop.publish()
    (wheel,) = workshop.build(spec)
    wheel.write_bytes(wheel.read_bytes()[:-100])
    assert workshop.build(spec) == [wheel]
    assert json.loads((wheel.parent / "key.json").read_text())["wheel"] == wheel.name
    assert any(name.startswith("tinyops/_ext.") for name in compiled_modules(wheel))


def test_a_wheel_without_operations_is_refused(workshop: Workshop) -> None:
    spec = workshop.publish(extensions="[]")
    with pytest.raises(EnvError, match=r"made tinyops-1\.0-py3-none-any\.whl without compiled operations") as caught:
        workshop.build(spec)
    assert ".log" in caught.value.message
    assert workshop.wheels() == workshop.leftovers() == []


def test_a_failed_build_keeps_its_log_and_shows_its_end(workshop: Workshop) -> None:
    spec = workshop.publish(extension="#include <Python.h>\nint broken = undeclared_thing;\n")
    with pytest.raises(EnvError, match=r"tinyops 1\.0 could not be compiled") as caught:
        workshop.build(spec)
    assert "undeclared_thing" in caught.value.message
    (log,) = workshop.layout.wheels.glob("*.log")
    assert str(log) in caught.value.hint
    assert "undeclared_thing" in log.read_text()
    assert workshop.wheels() == workshop.leftovers() == []


def test_a_known_failure_is_explained(workshop: Workshop) -> None:
    spec = workshop.publish(extension="#include <cusparse.h>\n")
    with pytest.raises(EnvError, match=r"the CUDA toolkit has no cusparse\.h") as caught:
        workshop.build(spec)
    assert "conda" in caught.value.hint


def test_a_source_with_another_hash_is_not_run(workshop: Workshop, tmp_path: Path) -> None:
    spec = workshop.publish()
    lock = spec.requirements[0].read_text()
    workshop.publish(before=f"open({str(tmp_path / 'ran')!r}, 'w')")
    spec.requirements[0].write_text(lock)
    with pytest.raises(EnvError, match="hash is not the one in its lock"):
        workshop.build(spec)
    assert not (tmp_path / "ran").exists()


def test_an_index_without_the_package_is_an_error_that_says_so(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = workshop.publish()
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    with pytest.raises(EnvError, match="cannot be had from the package index"):
        workshop.build(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compiled": ("absent",)}, "is to compile absent, which none of its locks names"),
        ({"device": None}, "no device was chosen"),
    ],
)
def test_what_cannot_be_built_is_refused(workshop: Workshop, change: dict[str, Any], message: str) -> None:
    spec = replace(workshop.publish(), **change)
    with pytest.raises(EnvError, match=message):
        build_ops(
            spec,
            prefix=workshop.prefix,
            python=workshop.prefix / "bin" / "python",
            variables={},
            compilers="machine",
            device=spec.device,
            layout=workshop.layout,
            say=print,
        )


def test_two_builders_at_once_build_once(workshop: Workshop, tmp_path: Path) -> None:
    begun, hold = tmp_path / "begun", tmp_path / "hold"
    hold.touch()
    spec = workshop.publish(before=HELD_UP.format(begun=str(begun), hold=str(hold)))
    first = workshop.start(spec)
    wait_until(begun.exists)
    second = workshop.start(spec)
    assert second.stdout is not None
    assert ", which is compiling tinyops 1.0" in second.stdout.readline()
    hold.unlink()
    said = [builder.communicate(timeout=120)[0] for builder in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert "compiled tinyops 1.0 in" in said[0]
    assert said[1] == "", "the second found the first's wheel"
    assert len(workshop.wheels()) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_is_ended_leaves_no_wheel_and_no_process(
    workshop: Workshop, tmp_path: Path, number: signal.Signals
) -> None:
    begun, hold = tmp_path / "begun", tmp_path / "hold"
    hold.touch()
    spec = workshop.publish(before=HELD_UP.format(begun=str(begun), hold=str(hold)))
    builder = workshop.start(spec)
    wait_until(begun.exists)
    assert processes_below(workshop.layout.environments)
    os.kill(builder.pid, number)
    builder.communicate(timeout=120)
    wait_until(lambda: not processes_below(workshop.layout.environments))
    assert workshop.wheels() == []
    assert len(workshop.leftovers()) == 1, "the scratch folder of the killed build"
    hold.unlink()
    assert workshop.build(spec) == workshop.wheels()
    assert workshop.leftovers() == []


def wait_until(condition: Callable[[], object], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)


def processes_below(folder: Path) -> list[int]:
    """Processes whose arguments name something in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        arguments = " ".join(process.info["cmdline"] or [])
        if str(folder) in arguments and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process.pid)
    return found
