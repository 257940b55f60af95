"""How checkpoints come, are recorded and are refused: with a real server, real files and the real command."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.checkpoints.torch_files import STORAGES, checkpoint, pickled, write_zip
from tests.file_server import FileServer, cut_after, file_server, page, status, whole

from admlops.catalog import Model, load_model
from admlops.checkpoints import Stored, add, ensure_usable, fetch, find_problem, path_of
from admlops.checkpoints.inspection import INSPECTOR
from admlops.checkpoints.register import read_register
from admlops.core.errors import CheckpointError, DownloadError, UsageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout, find_layout
from admlops.core.storage import file_sha256

MALICIOUS = b"cposix\nsystem\n(X\x05\x00\x00\x00falsetR."
DRIVE = "/drive.usercontent.google.com/download"
DRIVE_ID = "1n1FUFnRqdskvmpLdnsuX_VK6pET19h95"
WARNING = f"""<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form action="/search"><input type="hidden" name="q" value="other"></form>
<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/><input type="hidden" name="id" value="{DRIVE_ID}">
<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="aaaa-bbbb"></form></body></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><a>Sign in</a>
<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try accessing the
file again later.</p></body></html>"""
TOML = """
name = "Tiny"
summary = "Test."
tasks = ["vector_map"]
license = "MIT"
frame = "ego"
box_convention = "standard"
temporal = false
default_variant = "modern"
default_checkpoint = "hub"
[source]
kind = "embedded"
[variants.modern]
python = ">=3.11"
backends = ["venv"]
requirements = "modern/requirements.txt"
[classes]
vector_map = ["divider"]
[configs]
small = "small.py"
[checkpoints.hub]
config = "small"
file = "hub.pth"
url = "https://hub.invalid/v1/hub.pth"
{hub}
[checkpoints.drive]
config = "small"
file = "drive.pth"
google_drive = "1n1FUFnRqdskvmpLdnsuX_VK6pET19h95"
sha256_from = "first download"
"""
UNKNOWN = 'sha256_from = "first download"'


@dataclass(frozen=True)
class Place:
    """A model with two checkpoints, a server that stands for every host, and a good file."""

    layout: Layout
    server: FileServer
    good: Path

    @property
    def model(self) -> Model:
        return load_model(self.layout, "Tiny")

    def fetch(self, name: str) -> Stored:
        return fetch(self.layout, self.model, name, say=lambda line: None)

    def add(self, name: str, file: Path, *, replace: bool = False) -> Stored:
        return add(self.layout, self.model, name, file, say=lambda line: None, replace=replace)

    def path(self, name: str) -> Path:
        return path_of(self.layout, self.model, name)

    def problem(self, name: str, **options: bool) -> str | None:
        return find_problem(self.layout, self.model, name, **options)

    def left(self) -> list[str]:
        """The files that are neither locks nor the register."""
        files = (path for path in self.path("hub").parent.rglob("*") if path.is_file())
        return sorted(path.name for path in files if path.suffix != ".lock" and path.name != "hashes.json")

    def serve(self, *answers: object) -> None:
        self.server.serve("/hub.invalid/v1/hub.pth", *answers)  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    root = tmp_path / "checkout"
    (root / "envs" / "Tiny").mkdir(parents=True)
    (root / "envs" / "Tiny" / "model.toml").write_text(TOML.format(hub=UNKNOWN))
    good = write_zip(tmp_path / "good.pth", pickled(checkpoint()), STORAGES)
    with file_server() as server:
        monkeypatch.setenv("ADMLOPS_DOWNLOAD_MIRROR", server.url)
        server.serve("/hub.invalid/v1/hub.pth", whole(good.read_bytes()))
        yield Place(replace(layout, root=root), server, good)


def other_file(tmp_path: Path) -> Path:
    """A checkpoint as good as the other, with another content."""
    return write_zip(tmp_path / "other.pth", pickled({**checkpoint(), "more": 1}), STORAGES)


def test_a_first_download_is_recorded_read_only_and_then_enforced(place: Place, tmp_path: Path) -> None:
    stored = place.fetch("hub")
    assert stored.new
    assert stored.entry.sha256 == file_sha256(place.good)
    assert stored.path.read_bytes() == place.good.read_bytes()
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o444
    assert place.left() == ["hub.pth"]
    assert place.problem("hub") is None
    entry = json.loads((stored.path.parent / "hashes.json").read_text())["files"]["hub.pth"]
    assert entry["sha256"] == stored.entry.sha256
    assert entry["origin"] == "https://hub.invalid/v1/hub.pth"
    assert "sha256 =" not in (place.layout.envs / "Tiny" / "model.toml").read_text(), "git's file is not touched"

    stored.path.unlink()
    place.serve(whole(other_file(tmp_path).read_bytes(), etag='"v2"'))
    with pytest.raises(DownloadError, match=r"its sha256 is .*, not " + stored.entry.sha256):
        place.fetch("hub")
    assert place.left() == []


def test_a_second_fetch_asks_nobody(place: Place) -> None:
    place.fetch("hub")
    assert place.fetch("hub").new is False
    assert len(place.server.requests) == 1


def test_a_download_that_was_cut_goes_on(place: Place) -> None:
    content = place.good.read_bytes()
    place.serve(cut_after(content, 1000), whole(content))
    assert place.fetch("hub").new
    assert place.server.ranges() == [None, "bytes=1000-"]


def test_a_pinned_hash_is_stronger_than_what_was_recorded(place: Place, tmp_path: Path) -> None:
    place.fetch("hub")
    other = other_file(tmp_path)
    pinned = f'sha256 = "{file_sha256(other)}"\nsha256_from = "publisher"'
    (place.layout.envs / "Tiny" / "model.toml").write_text(TOML.format(hub=pinned))
    problem = place.problem("hub")
    assert problem is not None
    assert "model.toml pins" in problem
    with pytest.raises(CheckpointError, match="another file than the recorded one"):
        place.add("hub", place.good, replace=True)
    assert place.add("hub", other, replace=True).entry.sha256 == file_sha256(other)
    assert place.problem("hub") is None


def test_a_malicious_file_is_refused_and_removed(place: Place, tmp_path: Path) -> None:
    place.serve(whole(write_zip(tmp_path / "bad.pth", MALICIOUS, {}).read_bytes()))
    with pytest.raises(CheckpointError, match=r"GLOBAL at byte 0 names posix\.system"):
        place.fetch("hub")
    assert place.left() == []
    assert read_register(place.path("hub").parent) == {}
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        place.add("hub", tmp_path / "bad.pth")
    assert place.left() == []
    assert (tmp_path / "bad.pth").is_file(), "the user's own file stays"


@pytest.mark.parametrize("change", ["content", "content and times", "gone", "never recorded", "inspector"])
def test_what_is_not_as_recorded_is_not_used(place: Place, change: str) -> None:
    path = place.fetch("hub").path
    facts = path.stat()
    path.chmod(0o644)
    if change == "gone":
        path.unlink()
    elif change == "never recorded":
        (path.parent / "hashes.json").unlink()
    elif change == "inspector":
        register = path.parent / "hashes.json"
        register.write_text(register.read_text().replace(f'"inspector": {INSPECTOR}', '"inspector": 0'))
        path.write_bytes(write_zip(path.with_suffix(".x"), MALICIOUS, {}).read_bytes())
    else:
        content = bytearray(path.read_bytes())
        content[-200] ^= 1
        path.write_bytes(content)
        # Set in both cases: two writes within one tick of the kernel's clock have the same time.
        later_ns = 0 if change == "content and times" else 1
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + later_ns))
    thorough = change == "content and times"
    assert place.problem("hub", thorough=thorough) is not None
    if not thorough:
        with pytest.raises(CheckpointError, match="cannot be used") as raised:
            ensure_usable(place.layout, place.model, "hub", say=lambda line: None)
        assert "admlops checkpoints fetch Tiny hub" in raised.value.hint
    if change != "never recorded":
        assert place.fetch("hub").new or thorough
        if not thorough:
            assert place.problem("hub") is None


def test_a_file_that_was_only_touched_is_hashed_once_more_and_used(place: Place) -> None:
    path = place.fetch("hub").path
    os.utime(path)
    assert place.problem("hub") is None
    assert read_register(path.parent)["hub.pth"].is_unchanged(path)


def test_rules_that_became_stricter_are_applied_to_old_files(place: Place) -> None:
    path = place.fetch("hub").path
    register = path.parent / "hashes.json"
    register.write_text(register.read_text().replace(f'"inspector": {INSPECTOR}', '"inspector": 0'))
    assert not read_register(path.parent)["hub.pth"].is_unchanged(path)
    assert place.problem("hub") is None
    assert read_register(path.parent)["hub.pth"].is_unchanged(path)


def test_a_damaged_register_says_so_and_loses_nothing(place: Place) -> None:
    path = place.fetch("hub").path
    (path.parent / "hashes.json").write_text('{"files": ')
    with pytest.raises(CheckpointError, match="is damaged") as raised:
        place.problem("hub")
    assert "mv " in raised.value.hint
    assert path.is_file()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"message": "Not Found"}', 'it is an error message in JSON, not weights: "Not Found"'),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", 'in XML, not weights: "NoSuchKey"'),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "it is a pointer of Git LFS"),
        (b"", "an empty file"),
    ],
)
def test_what_comes_in_place_of_weights_is_named_with_its_address(place: Place, content: bytes, words: str) -> None:
    place.serve(whole(content))
    with pytest.raises((CheckpointError, DownloadError)) as raised:
        place.fetch("hub")
    assert "Tiny hub" in raised.value.message
    if content:
        assert words in raised.value.message
        assert "what came from https://hub.invalid/v1/hub.pth is no checkpoint" in raised.value.message
    assert "admlops checkpoints add Tiny hub /path/hub.pth" in raised.value.hint
    assert place.left() == []


# --- files added by hand


def test_a_file_added_by_hand(place: Place) -> None:
    stored = place.add("drive", place.good)
    assert stored.entry.origin == "added by hand"
    assert stored.path.name == "drive.pth"
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o444
    assert place.problem("drive") is None
    assert place.good.is_file()
    assert place.fetch("drive").new is False
    assert place.server.requests == []


def test_a_file_put_into_its_place_by_hand_is_checked_there(place: Place) -> None:
    place.path("hub").parent.mkdir(parents=True)
    shutil.copy(place.good, place.path("hub"))
    problem = place.problem("hub")
    assert problem == f"never checked: admlops checkpoints add Tiny hub {place.path('hub')}"
    assert place.add("hub", place.path("hub")).new
    assert place.problem("hub") is None


def test_another_file_needs_to_be_asked_for(place: Place, tmp_path: Path) -> None:
    place.add("hub", place.good)
    other = other_file(tmp_path)
    with pytest.raises(CheckpointError, match="another file than the recorded one") as raised:
        place.add("hub", other)
    assert "--replace" in raised.value.hint
    assert place.problem("hub") is None
    place.add("hub", other, replace=True)
    assert place.path("hub").read_bytes() == other.read_bytes()


def test_files_that_cannot_be_added(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        place.add("hub", tmp_path / "absent.pth")
    with pytest.raises(UsageError, match='no checkpoint "huge" in the catalogue; it has: hub, drive'):
        place.add("huge", tmp_path / "good.safetensors")


# --- Google Drive


def test_a_large_file_on_drive_comes_behind_a_warning(place: Place) -> None:
    content = place.good.read_bytes()
    place.server.serve(DRIVE, page(WARNING), cut_after(content, 700), whole(content))
    stored = place.fetch("drive")
    assert stored.path.read_bytes() == content
    assert f"id={DRIVE_ID}" in place.server.requests[0][0]
    confirmed = place.server.requests[1][0]
    assert "confirm=t" in confirmed
    assert "uuid=aaaa-bbbb" in confirmed
    assert "q=other" not in confirmed
    assert place.server.ranges() == [None, None, "bytes=700-"]
    assert stored.entry.origin == f"https://drive.google.com/file/d/{DRIVE_ID}/view"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page(QUOTA), "quota of this file is used up"),
        (page(QUOTA, 403), "quota of this file is used up"),
        (page("<html><title>Error 404 (Not Found)!!1</title></html>", 404), "not there any more"),
        (page("<html>Sorry, the file you have requested does not exist.</html>"), "not there any more"),
        (page("<html>You need access. Ask for access.</html>"), "not public any more"),
        (page("<html><p>We're sorry... your computer may be sending automated queries.</p></html>"), "refuses this"),
        (page("<html><title>Something new</title></html>"), '"Something new"'),
        (page(WARNING), "again and again"),
        (status(404), "404"),
    ],
)
def test_drive_refuses_and_the_way_by_hand_is_shown(place: Place, answer: object, words: str) -> None:
    place.server.serve(DRIVE, answer)  # type: ignore[arg-type]
    with pytest.raises(DownloadError, match="Tiny drive: ") as raised:
        place.fetch("drive")
    assert words in raised.value.message
    assert f"https://drive.google.com/file/d/{DRIVE_ID}/view" in raised.value.hint
    assert "admlops checkpoints add Tiny drive /path/drive.pth" in raised.value.hint
    assert place.left() == []


# --- what a run may load


def test_a_run_takes_names_and_files(place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    place.fetch("hub")
    assert ensure_usable(place.layout, place.model, "hub", say=said.append).path == place.path("hub")
    own = ensure_usable(place.layout, place.model, str(place.good), say=said.append)
    assert (own.path, own.sha256) == (place.good, file_sha256(place.good))
    assert (own.name, said) == (
        "hub",
        [f"inspecting {place.good}", f"{place.good} holds the weights of the catalogue's hub"],
    )
    with pytest.raises(UsageError, match="neither a file nor a name of the catalogue; known are hub, drive"):
        ensure_usable(place.layout, place.model, "huge", say=said.append)
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        ensure_usable(place.layout, place.model, str(write_zip(tmp_path / "b.pth", MALICIOUS, {})), say=said.append)


# --- the command


def command(place: Place, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    folders = {"ADMLOPS_PATH": str(place.layout.root), "ADMLOPS_REP_PATH": str(place.layout.repository)}
    return subprocess.run(
        [sys.executable, "-m", "admlops", "checkpoints", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **folders, "COLUMNS": "250", **variables},
        check=False,
    )


@pytest.mark.full
def test_the_command_from_nothing_to_verified(place: Place) -> None:
    assert command(place, "list").stdout.count("not fetched") == 2
    fetched = command(place, "fetch", "Tiny", "--json")
    (one,) = json.loads(fetched.stdout)
    assert (one["checkpoint"], one["new"], one["format"], one["tensors"]) == ("hub", True, "torch zip", 2)
    assert "is there already" in command(place, "fetch").stdout
    assert "torch zip, 2 tensors" in command(place, "add", "Tiny", "drive", place.good).stdout
    assert command(place, "verify").stdout == "2 checkpoints are as recorded\n"
    rows = json.loads(command(place, "list", "Tiny", "--json").stdout)
    assert [row["status"] for row in rows] == ["ready", "ready"]
    assert rows[0]["sha256_from"] == "hashes.json"
    place.path("hub").chmod(0o644)
    place.path("hub").write_bytes(b"x" + place.path("hub").read_bytes()[1:])
    refused = command(place, "verify")
    assert refused.returncode == 2
    assert "Tiny hub: changed since it was recorded" in refused.stderr


def test_the_command_goes_on_after_a_failure(place: Place) -> None:
    place.server.serve(DRIVE, page(QUOTA))
    done = command(place, "fetch", "Tiny", "drive", "hub")
    assert done.returncode == 2
    assert "quota" in done.stderr
    assert "Tiny hub: " in done.stdout
    assert "Traceback" not in done.stderr
    assert place.path("hub").is_file()


def test_the_command_offline_asks_a_host_once(place: Place) -> None:
    text = (place.layout.envs / "Tiny" / "model.toml").read_text()
    more = text[text.index("[checkpoints.hub]") : text.index("[checkpoints.drive]")].replace("hub", "again")
    more = more.replace("https://again.", "https://hub.")
    (place.layout.envs / "Tiny" / "model.toml").write_text(text + more)
    done = command(place, "fetch", "Tiny", "hub", "again", ADMLOPS_DOWNLOAD_MIRROR="http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.count("trying again") == 2
    assert "Tiny again: hub.invalid cannot be reached" in done.stderr
    assert "2 checkpoints could not be had" in done.stderr


def test_a_command_that_waits_says_for_whom(place: Place) -> None:
    lock = place.path("hub").parent / ".incoming" / ".hub.pth.lock"
    folders = {"ADMLOPS_PATH": str(place.layout.root), "ADMLOPS_REP_PATH": str(place.layout.repository)}
    with hold(lock, what="", say=lambda line: None):
        process = subprocess.Popen(
            [sys.executable, "-m", "admlops", "checkpoints", "fetch", "Tiny", "hub"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **folders},
            text=True,
        )
        assert process.stderr is not None
        said = process.stderr.readline()
        assert f"waiting for process {os.getpid()} on " in said
        assert "which is fetching or adding hub.pth" in said
        assert not place.path("hub").exists()
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Tiny hub: " in stdout
    assert not lock.exists()


def test_one_failure_is_said_once(place: Place) -> None:
    place.serve(status(404))
    done = command(place, "fetch", "Tiny", "hub")
    assert done.returncode == 2
    assert done.stderr.count("answered 404") == 1
    assert "admlops checkpoints add Tiny hub /path/hub.pth" in done.stderr


def test_every_checkpoint_of_the_catalogue_has_a_place_to_come_from() -> None:
    layout = find_layout()
    for name in ("MapTR", "PETR", "StreamPETR", "TopoMLP", "VAD"):
        model = load_model(layout, name)
        assert model.default_checkpoint is not None
        for one in model.checkpoints:
            assert path_of(layout, model, one).suffix == ".pth"
