"""`admlops audit`: pip-audit against a database of the test's own, licences, checkpoints that are refused."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.typed import Typed, typed

from admlops.catalog import load_model
from admlops.core.paths import Layout, find_layout
from admlops.pipeline.audit import audit as audits
from admlops.pipeline.audit.licences import copyleft_of, likely_licence_of, name_licence, read_table
from admlops.pipeline.audit.locks import Locked, list_locked
from admlops.pipeline.audit.vulnerabilities import Vulnerabilities, find_vulnerabilities
from admlops.pipeline.audit.weights import audit_checkpoints

__all__ = ["typed"]

FAULT = {
    "id": "PYSEC-2019-217",
    "aliases": ["CVE-2019-10906"],
    "summary": "a sandbox that can be left",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}


class Database(BaseHTTPRequestHandler):
    """Speaks OSV's query: one version of one package has a fault."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        faulty = (asked["package"]["name"], asked["version"]) == ("jinja2", "2.10")
        body = json.dumps({"vulns": [FAULT]} if faulty else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, ...]]:
    """pip-audit's words for a database on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield ("--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_address[1]}/v1/query")
    server.shutdown()
    server.server_close()
    thread.join()


def locked(name: str, version: str, used_by: str = "host") -> Locked:
    return Locked(index="python", name=name, version=version, used_by=used_by, lock="requirements.txt")


def test_a_known_fault_is_told_with_what_mends_it_and_who_uses_it(database: tuple[str, ...]) -> None:
    packages = [locked("jinja2", "2.10", "MapTR classic"), locked("jinja2", "3.1.6"), locked("click", "8.1.8")]
    found = find_vulnerabilities([*packages, locked("jinja2", "2.10", "PETR classic")], options=database)
    assert (found.asked, found.unasked, found.reason) == (3, 0, "")
    (fault,) = found.found
    assert (fault.package, fault.version, fault.id) == ("jinja2", "2.10", "PYSEC-2019-217")
    assert (fault.aliases, fault.fixed_in) == (("CVE-2019-10906",), ("2.10.1",))
    assert fault.used_by == ("MapTR classic", "PETR classic")


def test_a_database_that_is_away_is_no_clean_result() -> None:
    gone = ("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query")
    found = find_vulnerabilities([locked("click", "8.1.8")], options=gone)
    assert (found.asked, found.unasked) == (0, 1)
    assert found.reason


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked about vulnerabilities."""
    nothing = Vulnerabilities(found=(), asked=0, unasked=3, reason="no such host")
    monkeypatch.setattr(audits, "find_vulnerabilities", lambda locked, options: nothing)


@pytest.mark.usefixtures("unasked")
def test_what_could_not_be_asked_is_said_and_ends_with_2(typed: Typed) -> None:
    said = typed("audit")
    assert said.code == 2
    assert "not asked: no such host" in said.out
    assert "ultralytics-opencv-headless (AGPL-3.0)" in said.out
    shape = json.loads(typed("audit", "--json").out)
    assert shape["vulnerabilities"]["reason"] == "no such host"
    assert shape["licences"]["MIT"] > 50


@pytest.mark.usefixtures("unasked")
def test_a_checkpoint_that_would_run_code_ends_with_1(typed: Typed, tmp_path: Path) -> None:
    folder = tmp_path / "repository" / "checkpoints" / "MapTR"
    folder.mkdir(parents=True)
    (folder / "stranger.pth").write_bytes(pickle.dumps(Evil()))
    said = typed("audit")
    assert said.code == 1
    assert "stranger.pth" in said.out
    assert "1 read, 1 refused" in said.out


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("touch /tmp/evil-was-here",)


def test_a_checkpoint_of_the_catalogue_that_nobody_recorded(tmp_path: Path) -> None:
    layout = Layout(root=find_layout().root, repository=tmp_path, environments=tmp_path)
    model = load_model(layout, "NanoDet")
    name, point = next(iter(model.checkpoints.items()))
    folder = layout.checkpoints / "NanoDet"
    folder.mkdir(parents=True)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / point.file).write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80?")
    (audited,) = audit_checkpoints(layout)
    assert (audited.model, audited.name) == ("NanoDet", name)
    assert audited.problem.endswith("was never recorded")
    assert [path.name for path in folder.iterdir()] == [point.file]


def test_every_lock_is_listed_without_local_versions() -> None:
    found = list_locked(find_layout())
    used = {one.used_by for one in found}
    assert {"host", "docs", "MapTR classic", "official nuscenes", "tools onnx", "host: pages"} <= used
    assert not [one for one in found if "+" in one.version]
    assert {one.version for one in found if one.name == "torch" and one.used_by == "MapTR classic"} == {"1.9.1"}


def test_agpl_code_is_locked_only_where_it_is_asked_for() -> None:
    layout = find_layout()
    table = read_table(layout)
    agpl = {one for one in list_locked(layout) if copyleft_of(likely_licence_of(one, table) or "") == "AGPL"}
    assert {one.used_by for one in agpl} == {"YOLOv5 modern", "YOLOv8 modern"}
    assert all(one.name.startswith("ultralytics") for one in agpl)


@pytest.mark.parametrize(
    ("expression", "text", "classifiers", "expected"),
    [
        ("Apache-2.0 OR MIT", "anything", (), "Apache-2.0 OR MIT"),
        (None, "MIT License", (), "MIT"),
        (None, "Apache License 2.0", (), "Apache-2.0"),
        (None, "Copyright (c) 2005\nAll rights reserved.", ("License :: OSI Approved :: BSD License",), "BSD"),
        (None, "UNKNOWN", ("License :: OSI Approved :: MIT License",), "MIT"),
        (None, "UNKNOWN", (), "not stated"),
        (None, None, ("License :: OSI Approved",), "not stated"),
        (None, "Copyright (c) 2005\nlong", (), "Copyright (c) 2005"),
    ],
)
def test_a_licence_is_named_from_what_a_package_says(
    expression: str | None, text: str | None, classifiers: tuple[str, ...], expected: str
) -> None:
    assert name_licence(expression=expression, text=text, classifiers=classifiers) == expected


@pytest.mark.parametrize(
    ("licence", "family"),
    [("LGPL-3.0-only", "LGPL"), ("AGPL-3.0", "AGPL"), ("GPL-2.0", "GPL"), ("MPL-2.0 AND MIT", "MPL"), ("MIT", "")],
)
def test_licences_with_conditions_are_known(licence: str, family: str) -> None:
    assert copyleft_of(licence) == family


def test_another_versions_licence_is_said_to_be_one() -> None:
    table = {"python": {"x": {"1.9": "MIT", "1.10": "BSD"}}}
    assert likely_licence_of(locked("x", "1.9"), table) == "MIT"
    assert likely_licence_of(locked("x", "3"), table) == "BSD (as 1.10)"
    assert likely_licence_of(locked("y", "3"), table) is None


def test_packages_of_condas_locks_stand_in_the_table_of_licences() -> None:
    layout = find_layout()
    table = read_table(layout)
    conda = {one.name: likely_licence_of(one, table) for one in list_locked(layout) if one.index == "conda"}
    assert conda["openssl"] == "Apache-2.0"
    assert [name for name, licence in conda.items() if licence is None] == ["cuda-cccl"], "no record names its licence"
