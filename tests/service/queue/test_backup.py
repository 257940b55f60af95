"""Copies of a SQLite database: whole, while others write, and where a new one begins."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from admlops.core.errors import StorageError
from admlops.core.paths import find_layout
from admlops.service.queue.backup import Backup, back_up, restore
from admlops.service.queue.database import default_backup, default_url, open_database
from admlops.service.queue.jobs import JobQueue


@pytest.fixture
def file(tmp_path: Path, sqlite_file: Path) -> Path:
    path = tmp_path / "disk" / "queue.sqlite3"
    assert restore(sqlite_file, path)
    return path


def test_a_copy_is_whole_while_others_write(file: Path, tmp_path: Path) -> None:
    queue = JobQueue(open_database(str(file)))
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            queue.submit("run", {"text": "x" * 2000})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [back_up(file, tmp_path / "volume") for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    assert set(copies) == {tmp_path / "volume" / "queue.sqlite3"}
    assert list((tmp_path / "volume").iterdir()) == [copies[0]]
    before = queue.counts().in_queue
    other = JobQueue(open_database(str(tmp_path / "other" / "queue.sqlite3"), backup=tmp_path / "volume"))
    assert 0 <= other.counts().in_queue <= before
    assert all(job.input == {"text": "x" * 2000} for job in other.list(limit=10_000))
    other.database.close()
    queue.database.close()


def test_a_database_that_is_there_is_never_replaced(file: Path, tmp_path: Path) -> None:
    queue = JobQueue(open_database(str(file)))
    back_up(file, tmp_path / "volume")
    job = queue.submit("run", {})
    queue.database.close()
    assert not restore(tmp_path / "volume" / "queue.sqlite3", file)
    again = JobQueue(open_database(str(file), backup=tmp_path / "volume"))
    assert again.get(job.id) == job
    again.database.close()
    open_database(str(tmp_path / "fresh" / "queue.sqlite3"), backup=tmp_path / "nothing").close()


def test_copies_are_made_where_something_happened_and_not_too_often(file: Path, tmp_path: Path) -> None:
    backup = Backup(file, tmp_path / "volume", every_s=3600)
    assert backup.make_if_due() is None
    backup.mark()
    assert backup.make_if_due() is not None
    backup.mark()
    assert backup.make_if_due() is None
    assert backup.make_if_due(at_once=True) is not None
    without = Backup(None, tmp_path)
    without.mark()
    assert without.make_if_due(at_once=True) is None


def test_a_folder_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").write_text("a file")
    with pytest.raises(StorageError, match="volume"):
        back_up(file, tmp_path / "volume")


def test_the_default_file_is_on_a_disk_where_the_repository_is_a_network_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "volume"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "disk"))
    (tmp_path / "volume").mkdir()
    layout = find_layout()
    assert default_url(layout) == f"sqlite:///{tmp_path / 'volume' / 'service' / 'jobs.db'}"
    assert default_backup(layout) is None

    monkeypatch.setattr("admlops.service.queue.database.find_file_system", lambda _: "fuse.mfs")
    assert default_url(layout).startswith(f"sqlite:///{tmp_path / 'disk' / 'admlops' / 'service-'}")
    assert default_backup(layout) == tmp_path / "volume" / "service"
