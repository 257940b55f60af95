"""Parts of single objects, from a real S3 server on the loopback that is asked without keys."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from tests.s3_server import Server
from tests.typed import Typed

from admlops.publications import publication as publications

pytestmark = pytest.mark.full

PREFIX = "datasets/av2/sensor/val"
FILES = {
    f"log-{log}/sensors/cameras/ring_front_center/{number}.jpg": bytes([log, number]) * 5000
    for log in range(3)
    for number in range(4)
}


def put(url: str, content: bytes | None = None) -> None:
    headers = {"x-amz-acl": "public-read", "Content-Type": "image/jpeg"}
    request = urllib.request.Request(url, data=content, method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=60):
        pass


def test_logs_come_object_by_object_and_go_on(
    s3: Server, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(f"{s3.url}/argoverse")
    for name, content in FILES.items():
        put(f"{s3.url}/argoverse/{PREFIX}/{name}", content)
    sets = tmp_path / "sets"
    sets.mkdir()
    text = (publications.FOLDER / "argoverse2.toml").read_text()
    (sets / "argoverse2.toml").write_text(text.replace("https://s3.us-east-1.amazonaws.com", s3.url))
    monkeypatch.setattr(publications, "FOLDER", sets)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable)
    root = tmp_path / "argoverse2"
    asked = ("data", "fetch", "argoverse2", "--part", "val", "--to", str(root), "--json")
    said = typed(*asked, "--accept-terms", "--logs", "1")
    assert said.code == 0, said
    first = json.loads(said.out)
    assert [(one["name"], one["files"]) for one in first["fetched"]] == [("argoverse2-val-log-0", 4)]
    (root / "sensor" / "val" / "log-1" / "sensors" / "cameras" / "ring_front_center").mkdir(parents=True)
    half = root / "sensor" / "val" / "log-1" / "sensors" / "cameras" / "ring_front_center" / "0.jpg"
    half.write_bytes(b"half")  # of another size: it is fetched
    rest = json.loads(typed(*asked).out)
    assert [one["name"] for one in rest["fetched"]] == ["argoverse2-val-log-1", "argoverse2-val-log-2"]
    assert {name: (root / "sensor" / "val" / name).read_bytes() for name in FILES} == FILES
    gets = len(s3.requests("GET"))
    again = json.loads(typed(*asked).out)
    assert (again["fetched"], again["present"]) == ([], ["argoverse2-val"])
    assert len(s3.requests("GET")) == gets
    assert json.loads(typed("data", "verify", str(root), "--json").out)["whole"]


def test_a_store_without_such_objects_is_named(
    s3: Server, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(f"{s3.url}/argoverse")
    sets = tmp_path / "sets"
    sets.mkdir()
    text = (publications.FOLDER / "argoverse2.toml").read_text()
    (sets / "argoverse2.toml").write_text(text.replace("https://s3.us-east-1.amazonaws.com", s3.url))
    monkeypatch.setattr(publications, "FOLDER", sets)
    asked = ("data", "fetch", "argoverse2", "--part", "val", "--to", str(tmp_path / "a"), "--accept-terms")
    said = typed(*asked)
    assert said.code == 2
    assert "holds no object" in said.err
