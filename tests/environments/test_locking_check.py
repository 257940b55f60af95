"""`admlops env lock`: makes, checks and completes the locks of a small checkout, and of the project itself."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.environments.locking_fixtures import WHEEL_URL, LockCheckout, make_checkout, record, write_index
from tests.file_server import FileServer, file_server, whole

from admlops.catalog import list_models, load_model
from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.environments.locking.check import check_locks
from admlops.environments.locking.variant_locks import locks_of
from admlops.environments.spec.conda_lock import read_conda_lock
from admlops.environments.spec.requirements import read_lock


def wheel(name: str, version: str, *, depends: str = "") -> bytes:
    """A wheel that holds nothing but its metadata."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{depends}"
    files = {"METADATA": metadata, "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    rows, content = [], io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{name}-{version}.dist-info/{file},sha256={digest},{len(text)}\n")
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "".join(rows))
    return content.getvalue()


def source(name: str, version: str) -> bytes:
    """A source distribution that holds nothing but its metadata."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        entry = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return content.getvalue()


class Index:
    """A Python package index on the loopback interface."""

    def __init__(self, server: FileServer) -> None:
        self._server, self._files = server, dict[str, dict[str, bytes]]()

    @property
    def variables(self) -> dict[str, str]:
        """What makes uv ask here."""
        return {"UV_DEFAULT_INDEX": f"{self._server.url}/simple", "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1"}

    def add(self, name: str, file_name: str, content: bytes) -> str:
        """Offer a file of a package; its sha256."""
        files = self._files.setdefault(name, {})
        files[file_name] = content
        rows = "".join(
            f'<a href="/files/{one}#sha256={hashlib.sha256(data).hexdigest()}" data-core-metadata="true">{one}</a><br>'
            for one, data in files.items()
        )
        self._server.serve(f"/simple/{name}/", whole(f"<html><body>{rows}</body></html>".encode(), kind="text/html"))
        self._server.serve(f"/files/{file_name}", whole(content))
        if file_name.endswith(".whl"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                metadata = next(archive.read(one) for one in archive.namelist() if one.endswith("/METADATA"))
            self._server.serve(f"/files/{file_name}.metadata", whole(metadata))
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def index(server: FileServer) -> Index:
    return make_index(server)


def make_index(server: FileServer) -> Index:
    """An index that has `wheelish` in several builds, of which one fits best, and `ops` as source only."""
    index = Index(server)
    for tag in ("py3-none-any", "cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_99_x86_64"):
        index.add("wheelish", f"wheelish-1.0-{tag}.whl", wheel("wheelish", "1.0", depends="Requires-Dist: absent>9\n"))
    for tag in ("cp312-cp312-manylinux_2_17_x86_64", "cp311-cp311-win_amd64"):
        index.add("wheelish", f"wheelish-1.0-{tag}.whl", wheel("wheelish", "1.0") + tag.encode())
    index.add("wheelish", "wheelish-1.0.tar.gz", source("wheelish", "1.0"))
    index.add("ops", "ops-2.0.tar.gz", source("ops", "2.0"))
    return index


@pytest.fixture
def checkout(tmp_path: Path) -> LockCheckout:
    return make_checkout(tmp_path / "a checkout")


@pytest.fixture(scope="module")
def locked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose locks were made once, to be copied."""
    checkout = make_checkout(tmp_path_factory.mktemp("locked"))
    with file_server() as running:
        checkout.admlops("env", "lock", "Tiny", "--index", checkout.index, variables=make_index(running).variables)
    return checkout.root


@pytest.fixture
def locked(locked_once: Path, tmp_path: Path) -> LockCheckout:
    """A checkout of this test's own, with locks."""
    root = shutil.copytree(locked_once, tmp_path / "a checkout")
    return LockCheckout(root=root, index=root / "index")


def test_makes_every_lock_of_a_variant(checkout: LockCheckout, index: Index) -> None:
    best = index.add("wheelish", "wheelish-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl", wheel("wheelish", "1.0"))
    made = checkout.admlops("env", "lock", "Tiny", "--index", checkout.index, "--json", variables=index.variables)
    counts = {Path(row["lock"]).name: row["packages"] for row in json.loads(made.stdout)}
    assert counts == {"conda-lock.yml": 4, "requirements.txt": 2, "requirements-cuda.txt": 1}
    text = (checkout.variant / "requirements.txt").read_text()
    assert "127.0.0.1" not in text
    assert text.startswith("# requirements.in locked for Python 3.11, linux-64 by: admlops env lock Tiny")
    ops, wheelish = read_lock(checkout.variant / "requirements.txt")
    assert wheelish.hashes == (f"sha256:{best}",), "one file: the newest build of the best fitting tag"
    assert "ops==2.0 \\\n    --hash=sha256:" + ops.hashes[0].removeprefix("sha256:") + "\n    # built from" in text
    (torch,) = read_lock(checkout.variant / "requirements-cuda.txt")
    assert (torch.url, torch.version, torch.hash_unknown) == (WHEEL_URL, "1.9.1+cu111", True)
    assert {one.name for one in read_conda_lock(checkout.variant / "conda-lock.yml").packages if not one.sha256} == {
        "nvcc"
    }


def test_a_list_that_is_compiled_from_must_be_closed(checkout: LockCheckout, index: Index) -> None:
    (checkout.root / "envs" / "common" / "shared.in").write_text("# shared\nwheelish>=1\n")
    failed = checkout.admlops("env", "lock", "Tiny", "--only", "python", check=False, variables=index.variables)
    assert failed.returncode == 2
    assert f"{checkout.root}/envs/common/shared.in:2: wheelish>=1 is not pinned" in failed.stderr
    assert not (checkout.variant / "requirements.txt").exists()


def test_what_the_index_lacks_leaves_the_lock_as_it_was(locked: LockCheckout, index: Index) -> None:
    before = (locked.variant / "requirements.txt").read_text()
    (locked.variant / "requirements.in").write_text("ops==3.0\n")
    failed = locked.admlops("env", "lock", "Tiny", "--only", "python", check=False, variables=index.variables)
    assert failed.returncode == 2
    assert "could not be locked" in failed.stderr
    assert "ops==3.0" in failed.stderr
    assert (locked.variant / "requirements.txt").read_text() == before


def test_an_open_list_is_resolved_for_every_platform_and_keeps_its_versions(
    checkout: LockCheckout, index: Index
) -> None:
    model = checkout.variant.parent / "model.toml"
    text = model.read_text().replace(">=3.11,<3.12", ">=3.11").replace('compiled = ["ops"]', "")
    model.write_text(text)
    (checkout.variant / "requirements.in").write_text("needy\n")
    index.add("needy", "needy-1.0-py3-none-any.whl", wheel("needy", "1.0", depends="Requires-Dist: needed\n"))
    index.add("needed", "needed-1.0-py3-none-any.whl", wheel("needed", "1.0"))
    command = ("env", "lock", "Tiny", "--only", "python")
    checkout.admlops(*command, variables=index.variables)
    lock = checkout.variant / "requirements.txt"
    assert [(one.name, one.version) for one in read_lock(lock)] == [("needed", "1.0"), ("needy", "1.0")]
    before = lock.read_text()
    index.add("needed", "needed-2.0-py3-none-any.whl", wheel("needed", "2.0"))
    checkout.admlops(*command, variables=index.variables)
    assert lock.read_text() == before


@pytest.mark.parametrize("python", [">=3.11,<3.12", ">=3.11"], ids=["one Python", "several"])
def test_an_open_list_can_be_locked_again_and_keeps_its_versions(
    checkout: LockCheckout, index: Index, python: str
) -> None:
    model = checkout.variant.parent / "model.toml"
    model.write_text(model.read_text().replace(">=3.11,<3.12", python).replace('compiled = ["ops"]', ""))
    (checkout.variant / "requirements.in").write_text("wheelish==1.0\nneedy\n")
    index.add("needy", "needy-1.0-py3-none-any.whl", wheel("needy", "1.0", depends="Requires-Dist: needed\n"))
    index.add("needed", "needed-1.0-py3-none-any.whl", wheel("needed", "1.0"))
    index.add("absent", "absent-10-py3-none-any.whl", wheel("absent", "10"))
    command = ("env", "lock", "Tiny", "--only", "python")
    checkout.admlops(*command, variables=index.variables)
    lock = checkout.variant / "requirements.txt"
    before = lock.read_text()
    assert {one.name for one in read_lock(lock)} == {"wheelish", "absent", "needy", "needed"}
    index.add("needed", "needed-2.0-py3-none-any.whl", wheel("needed", "2.0"))
    checkout.admlops(*command, variables=index.variables)
    assert lock.read_text() == before


def test_what_is_compiled_against_torch_must_be_said_to_be(checkout: LockCheckout, index: Index) -> None:
    (checkout.variant / "requirements.in").write_text("ops==2.0\nmmcv_full==1.7.1\n")
    failed = checkout.admlops("env", "lock", "Tiny", "--only", "python", check=False, variables=index.variables)
    assert failed.returncode == 2
    assert 'write compiled = ["mmcv-full"] in the variant\'s model.toml and torch==VERSION' in failed.stderr
    assert "→ admlops env lock Tiny --variant modern" in failed.stderr
    assert not (checkout.variant / "requirements.txt").exists()
    digest = "a" * 64
    (checkout.variant / "requirements.txt").write_text(f"mmcv-full==1.7.1 --hash=sha256:{digest}\n")
    checked = checkout.admlops("env", "lock", "Tiny", "--check", check=False)
    assert "mmcv-full is compiled against torch" in checked.stdout


def test_a_local_version_is_explained_with_what_to_write(checkout: LockCheckout, index: Index) -> None:
    (checkout.variant / "requirements.in").write_text("ops==2.0\nwheelish==1.0+cu113\n")
    failed = checkout.admlops("env", "lock", "Tiny", "--only", "python", check=False, variables=index.variables)
    assert "local versions such as wheelish==1.0+cu113 are in no package index" in failed.stderr
    assert "→ write the address of the wheel: wheelish @ https://….whl, then: admlops env lock Tiny" in failed.stderr


def test_all_checks_every_model_whatever_one_of_them_lacks(locked: LockCheckout) -> None:
    envs = locked.root / "envs"
    shutil.copytree(envs / "Tiny", envs / "Bare")
    (envs / "Bare" / "model.toml").write_text((envs / "Tiny" / "model.toml").read_text().replace('"Tiny"', '"Bare"'))
    (envs / "Bare" / "modern" / "requirements.in").unlink()
    said = locked.admlops("env", "lock", "all", "--check").stdout
    assert "Tiny-modern: the locks answer their inputs" in said
    assert "Bare-modern: no inputs" in said
    (envs / "Aaa").mkdir()
    (envs / "Aaa" / "model.toml").write_text("name = ")
    failed = locked.admlops("env", "lock", "all", "--check", check=False)
    assert failed.returncode == 2
    assert "Aaa" in failed.stderr
    assert "Tiny-modern: the locks answer their inputs" in failed.stdout
    (locked.variant / "requirements.in").write_text("ops==2.0\n")
    assert "stale" in locked.admlops("env", "lock", "all", "--check", check=False).stdout
    named = locked.admlops("env", "lock", "Bare", "--check", check=False)
    assert named.returncode == 2
    assert "requirements.in does not exist" in named.stderr


CHANGES = [
    ("environment.yml", "python 3.11.*", "python >=3.11,<3.12", "conda-lock.yml was made from another environment.yml"),
    ("environment.yml", "nvcc 11.*\n", "nvcc 11.*\n  - git\n", "conda-lock.yml lacks git, which environment.yml asks"),
    ("conda-lock.yml", "libc: '>=2'", "gone: '>=2'", "conda-lock.yml lacks gone, which python needs"),
    ("../../common/virtual-packages.yml", "2.35", "2.31", "made from another environment.yml or virtual-packages.yml"),
    ("../../common/shared.in", "1.0", "1.1", "requirements.txt has wheelish 1.0, but"),
    (
        "../model.toml",
        "<3.12",
        "<3.13",
        "requirements.txt was made from another requirements.in, or for another Python",
    ),
    ("requirements.in", "ops==2.0\n", "", "requirements.txt has ops, which requirements.in does not ask for"),
    ("requirements.in", "ops==2.0", "ops==2.0\nmore==1", "requirements.txt lacks more, which"),
    ("requirements.txt", "--hash=sha256:", "--hash=md5:", "ops has no sha256"),
    ("requirements-cuda.in", "tinytorch-1.9.1", "tinytorch-1.9.2", "has another file of tinytorch than"),
    ("../model.toml", '["ops"]', '["ops", "opsy"]', "requirements.txt lacks opsy, which model.toml says is compiled"),
    (
        "../model.toml",
        '["cuda", "cpu"]',
        '["cpu"]',
        "requirements-cuda.txt has no input, or model.toml does not name it",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), CHANGES, ids=[f"{c[0]}-{c[2][:20]}" for c in CHANGES])
def test_check_names_the_lock_that_no_longer_answers(
    locked: LockCheckout, file: str, old: str, new: str, expected: str
) -> None:
    layout = locked.layout
    assert check_locks(locks_of(layout, load_model(layout, "Tiny"), "modern")).problems == ()
    changed = locked.variant / file
    text = changed.read_text()
    assert old in text
    changed.write_text(text.replace(old, new))
    found = check_locks(locks_of(layout, load_model(layout, "Tiny"), "modern"))
    assert any(expected in problem for problem in found.problems), found.problems


def test_the_command_checks_without_a_network(locked: LockCheckout) -> None:
    offline = {"UV_OFFLINE": "1", "ADMLOPS_CONDA_MIRROR": "http://127.0.0.1:9"}
    said = locked.admlops("env", "lock", "Tiny", "--check", variables=offline).stdout
    assert "Tiny-modern: the locks answer their inputs" in said
    assert "no package was fetched yet to confirm it" in said
    assert "only an md5, because the channel publishes no sha256: nvcc-11.8-0.conda" in said
    assert "nobody has recorded the sha256 of tinytorch yet" in said
    (locked.variant / "requirements.in").write_text("ops==2.0\n")
    failed = locked.admlops("env", "lock", "Tiny", "--check", "--json", check=False, variables=offline)
    assert failed.returncode == 1
    assert "→ admlops env lock Tiny --variant modern" in failed.stderr
    (row,) = json.loads(failed.stdout)
    assert len(row["problems"]) == 2


def test_the_command_refuses_what_does_not_go_together(checkout: LockCheckout) -> None:
    for options in (["--check", "--record"], ["--check", "--index", "x"], ["--record", "--only", "conda"]):
        failed = checkout.admlops("env", "lock", "Tiny", *options, check=False)
        assert failed.returncode == 2
        assert "--check goes neither with" in failed.stderr
    failed = checkout.admlops("env", "lock", "Tiny", "--variant", "old", check=False)
    assert failed.returncode == 2
    assert "Tiny has no variant 'old'; it has modern" in failed.stderr
    (checkout.variant / "requirements.in").unlink()
    failed = checkout.admlops("env", "lock", "Tiny", "--check", check=False)
    assert failed.returncode == 2
    assert "requirements.in does not exist" in failed.stderr


@pytest.fixture
def archives(checkout: LockCheckout, server: FileServer) -> dict[str, bytes]:
    """Two channels whose packages the server has: `one` with a sha256, `nvcc` with an md5 and no size."""
    contents = {"one-1.0-0.conda": b"the first" * 100, "nvcc-11.8-0.conda": b"the second" * 100}
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    sha256 = hashlib.sha256(contents["one-1.0-0.conda"]).hexdigest()
    one = record("one", "1.0", sha256=sha256, md5=md5["one-1.0-0.conda"], size=900)
    nvcc = record("nvcc", "11.8", sha256=None, md5=md5["nvcc-11.8-0.conda"], size=None)
    shutil.rmtree(checkout.index)
    write_index(checkout.index, {"conda-forge": [one], "nvidia/label/x": [nvcc]})
    server.serve("/conda-forge/linux-64/one-1.0-0.conda", whole(contents["one-1.0-0.conda"]))
    server.serve("/nvidia/label/x/linux-64/nvcc-11.8-0.conda", whole(contents["nvcc-11.8-0.conda"]))
    environment = checkout.variant / "environment.yml"
    environment.write_text(re.sub(r"  - python.*\n", "  - one\n", environment.read_text()))
    return contents


def test_record_completes_what_a_download_shows(
    checkout: LockCheckout, archives: dict[str, bytes], server: FileServer, index: Index
) -> None:
    checkout.admlops("env", "lock", "Tiny", "--index", checkout.index, variables=index.variables)
    content = wheel("tinytorch", "1.9.1+cu111")
    server.serve("/files.example/whl/tinytorch-1.9.1%2Bcu111-cp311-cp311-linux_x86_64.whl", whole(content))
    mirrors = {"ADMLOPS_CONDA_MIRROR": server.url, "ADMLOPS_DOWNLOAD_MIRROR": server.url}
    lock = checkout.variant / "conda-lock.yml"
    text = lock.read_text()
    said = checkout.admlops("env", "lock", "Tiny", "--record", variables=mirrors).stdout
    assert "confirmed: all 2 packages were fetched and are what it says" in said
    assert "sha256 of nvcc" in said
    assert "size of nvcc" in said
    assert "requirements-cuda.txt: sha256 of tinytorch" in said
    assert lock.read_text() == text
    found = read_conda_lock(lock)
    nvcc = next(one for one in found.packages if one.name == "nvcc")
    assert (found.confirmed, nvcc.size_bytes) == (True, 1000)
    assert nvcc.sha256 == hashlib.sha256(archives["nvcc-11.8-0.conda"]).hexdigest()
    (torch,) = read_lock(checkout.variant / "requirements-cuda.txt")
    assert torch.hashes == (f"sha256:{hashlib.sha256(content).hexdigest()}",)
    assert "note" not in checkout.admlops("env", "lock", "Tiny", "--check").stdout
    checkout.admlops("env", "lock", "Tiny", "--index", checkout.index, "--only", "conda")
    assert read_conda_lock(lock) == found, "a new solve with the same answer keeps what was recorded"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/conda-forge/linux-64/one-1.0-0.conda", "one-1.0-0.conda"),
        ("/nvidia/label/x/linux-64/nvcc-11.8-0.conda", "its md5 is not"),
    ],
)
def test_record_refuses_another_file_and_leaves_the_lock(
    checkout: LockCheckout, archives: dict[str, bytes], server: FileServer, path: str, expected: str
) -> None:
    assert archives
    checkout.admlops("env", "lock", "Tiny", "--index", checkout.index, "--only", "conda")
    (checkout.variant / "requirements.txt").write_text("# nothing\n")
    beside = checkout.variant / "conda-lock.json"
    before = beside.read_text()
    server.serve(path, whole(b"another file" * 100))
    failed = checkout.admlops(
        "env", "lock", "Tiny", "--record", check=False, variables={"ADMLOPS_CONDA_MIRROR": server.url}
    )
    assert failed.returncode == 2
    assert expected in failed.stderr
    assert beside.read_text() == before


VARIANTS = [
    (name, variant)
    for name in list_models(find_layout())
    if name in ("GroundPlane", "MapTR", "PETR", "StreamPETR", "TopoMLP", "VAD")
    for variant in load_model(find_layout(), name).variants
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_project_s_locks_answer_their_inputs(name: str, variant: str) -> None:
    layout = find_layout()
    model = load_model(layout, name)
    found = check_locks(locks_of(layout, model, variant))
    assert found.problems == ()
    pins = model.variants[variant]
    assert pins.conda_lock is not None
    lock = read_conda_lock(pins.conda_lock)
    assert all(url.startswith("https://conda.anaconda.org/nvidia/label/cuda-11.8.0/") for url in lock.md5_only)
    python = next(package for package in lock.packages if package.name == "python")
    assert python.version.rsplit(".", 1)[0] in pins.python
    assert not any("://" in line for line in pins.requirements.read_text().splitlines())
    if name != "GroundPlane":
        names = {package.name for package in read_lock(pins.requirements)}
        assert {"pip", "setuptools", "wheel", "ninja", *pins.compiled} <= names


def test_classic_takes_the_published_wheels_of_torch() -> None:
    published = {
        "torch": "2546dcaae81ac74f3f88dd4b29f5ead28852a5e8e66ca85b4f46f2eea306033c",
        "torchvision": "2ed9ac9cd49af60ded09d8d6d6386eec06651a07f2608561e7fd91f96c1cc52a",
    }
    for lock in find_layout().envs.glob("*/classic/requirements-cuda.txt"):
        found = {one.name: (one.hashes, one.url) for one in read_lock(lock) if one.url}
        assert {name: hashes for name, (hashes, _) in found.items()} == {
            name: (f"sha256:{sha256}",) for name, sha256 in published.items()
        }
        assert all(url and url.startswith("https://download.pytorch.org/whl/cu111/") for _, url in found.values())


def test_write_hashes_fills_only_unknown_ones(tmp_path: Path) -> None:
    from admlops.environments.spec.requirements import write_hashes

    lock = tmp_path / "requirements-cuda.txt"
    lock.write_text(f"tinytorch @ {WHEEL_URL} \\\n    --hash=sha256:unknown\n")
    write_hashes(lock, {"tinytorch": "a" * 64})
    (torch,) = read_lock(lock)
    assert torch.hashes == (f"sha256:{'a' * 64}",)
    with pytest.raises(EnvError, match="has no unknown hash for tinytorch"):
        write_hashes(lock, {"tinytorch": "b" * 64})
