"""The inputs of locks: `environment.yml`, `virtual-packages.yml`, `requirements.in`; what is read, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.environments.locking_fixtures import VIRTUAL_PACKAGES

from admlops.core.errors import EnvError
from admlops.environments.locking.conda_inputs import CondaInputs, read_conda_inputs
from admlops.environments.locking.python_inputs import read_python_inputs

ENVIRONMENT = "channels: [conda-forge]\nplatforms: [linux-64]\ndependencies:\n  - python 3.11.*\n"


def read(folder: Path, environment: str, virtual_packages: str = VIRTUAL_PACKAGES) -> CondaInputs:
    file, machine = folder / "environment.yml", folder / "virtual-packages.yml"
    file.write_text(environment, encoding="utf-8")
    machine.write_text(virtual_packages, encoding="utf-8")
    return read_conda_inputs(file, machine)


def test_reads_names_versions_builds_and_the_machine(tmp_path: Path) -> None:
    found = read(tmp_path, ENVIRONMENT + "  - git\n  - nvcc >=11.8,<12\n  - blas * *mkl\n  - zlib ==1.3 h1_0\n")
    assert [one.spec for one in found.dependencies] == [
        "python 3.11.*",
        "git",
        "nvcc >=11.8,<12",
        "blas * *mkl",
        "zlib ==1.3 h1_0",
    ]
    assert {one.name: (one.version, one.build) for one in found.virtual_packages}["__archspec"] == ("1", "x86_64")
    assert found.channels == ("conda-forge",)


MISTAKES = [
    ("", "must be a mapping with channels, platforms, dependencies"),
    ("a: [", "is not YAML"),
    (ENVIRONMENT + "pip-repositories: []\n", "pip-repositories is not a known key"),
    (ENVIRONMENT.replace("[linux-64]", "[osx-64]"), "platforms must be [linux-64], not ['osx-64']"),
    (ENVIRONMENT.replace("[conda-forge]", "conda-forge"), "channels must be a list of at least one"),
    (ENVIRONMENT.replace("conda-forge", "https://user:secret@host/x"), "channels[0] must be a channel's name"),
    (ENVIRONMENT.replace("conda-forge", "defaults"), "channels[0] is 'defaults'"),
    (ENVIRONMENT.replace("[conda-forge]", "[a, b, a]"), "channels names a twice"),
    (ENVIRONMENT + "  - python 3.12.*\n", "dependencies names python twice"),
    (ENVIRONMENT + "  - pip: [torch]\n", "dependencies[1] lists pip packages: those belong in requirements.in"),
    (ENVIRONMENT + "  - 3.11\n", 'dependencies[1] must be text, such as "python 3.11.*", not 3.11'),
    (ENVIRONMENT + "  - git=2.4\n", "dependencies[1] is 'git=2.4'; write \"git 2.4.*\""),
    (ENVIRONMENT + "  - conda-forge::git\n", 'dependencies[1] must be "name", "name VERSION"'),
    (ENVIRONMENT + "  - git =2.4\n", 'write "git 2.4.*"'),
    (ENVIRONMENT + "  - git 2.4\n", "dependencies[1] has the version '2.4'; write 3.11.*, ==3.11.9"),
    (ENVIRONMENT + "  - git >=2, <3 h1_0\n", 'write "git >=2,<3 h1_0"'),
    (ENVIRONMENT + "  - git ==2.4 h[1]\n", "dependencies[1] has the build 'h[1]'"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[expected[:40] for _, expected in MISTAKES])
def test_a_wrong_environment_yml_is_named_by_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(EnvError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "environment.yml") in caught.value.message
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subdirs: {}", "subdirs.linux-64.packages must be a mapping"),
        (VIRTUAL_PACKAGES.replace('"2.35"', "2.35"), '__glibc must be a quoted version, such as "2.35", not 2.35'),
        (VIRTUAL_PACKAGES.replace("__cuda", "cuda"), "cuda is not the name of a virtual package"),
    ],
)
def test_a_wrong_machine_is_named_by_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(EnvError) as caught:
        read(tmp_path, ENVIRONMENT, text)
    assert str(tmp_path / "virtual-packages.yml") in caught.value.message
    assert expected in caught.value.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["channels", "platforms", "dependencies", "name", "subdirs", "linux-64", "packages"])


@given(document=st.dictionaries(KEYS | st.text(max_size=5), VALUES, max_size=4))
def test_any_document_is_read_or_refused_with_its_name(
    document: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = yaml.safe_dump({"channels": ["a"], "platforms": ["linux-64"], "dependencies": ["b"], **document})
    for environment, machine in ((text, VIRTUAL_PACKAGES), (ENVIRONMENT, text)):
        folder = tmp_path_factory.mktemp("inputs")
        try:
            message = str(read(folder, environment, machine).file)
        except EnvError as error:
            message = error.message
        assert str(folder) in message


def test_the_hash_changes_with_what_is_asked_and_not_with_comments(tmp_path: Path) -> None:
    base = read(tmp_path, ENVIRONMENT).content_hash
    assert read(tmp_path, "# why\n" + ENVIRONMENT).content_hash == base
    for other in (ENVIRONMENT + "  - git\n", ENVIRONMENT.replace("3.11", "3.12"), ENVIRONMENT.replace("forge", "f")):
        assert read(tmp_path, other).content_hash != base
    assert read(tmp_path, ENVIRONMENT, VIRTUAL_PACKAGES.replace("2.35", "2.31")).content_hash != base


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.in").write_text(text)
    return folder / "main.in"


def test_lists_include_each_other(tmp_path: Path) -> None:
    main = write(tmp_path, main="-r more.in\nNumPy==1.26.4 # exactly\n", more="# shared\nclick==8.1.0\n")
    found = read_python_inputs(main, python=">=3.11,<3.12")
    assert [(one.name, one.exact_version, one.where) for one in found.packages] == [
        ("click", "8.1.0", f"{tmp_path / 'more.in'}:2"),
        ("numpy", "1.26.4", f"{main}:2"),
    ]
    assert found.closed
    assert found.python_minor == "3.11"


def test_what_leaves_a_version_open_is_not_closed(tmp_path: Path) -> None:
    for text in ("numpy\n", "numpy>=1\n", "numpy==1.*\n"):
        found = read_python_inputs(write(tmp_path, main=text), python=">=3.9")
        assert not found.closed
        assert found.python_minor is None
        assert found.lowest_python == "3.9"


def test_a_wheel_is_named_by_its_address_and_hash(tmp_path: Path) -> None:
    url = "https://host/whl/torch-1.9.1%2Bcu111-cp38-cp38-linux_x86_64.whl"
    main = write(tmp_path, main=f"torch @ {url}#sha256={'a' * 64}\nother @ {url}\n")
    first, second = read_python_inputs(main, python=">=3.8,<3.9").packages
    assert (first.url, first.sha256) == (url, "a" * 64)
    assert (second.url, second.sha256) == (url, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-r main.in\n", "includes"),
        ("-r absent.in\n", "cannot be read: No such file"),
        ("numpy==1\nnumpy==2\n", "numpy is asked for twice"),
        ("--index-url https://host/simple\n", "'--index-url' is not allowed here"),
        ("num py==1\n", "is not a requirement"),
        ("torch @ http://host/torch-1-py3-none-any.whl\n", "is not the https address of a .whl file"),
        ("torch @ https://host/torch-1.tar.gz\n", "is not the https address of a .whl file"),
        ("torch @ https://host/t-1-py3-none-any.whl#md5=abc\n", "#md5=abc is not #sha256="),
    ],
)
def test_a_wrong_list_is_named_by_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    main = write(tmp_path, main=text)
    with pytest.raises(EnvError) as caught:
        read_python_inputs(main, python=">=3.11")
    assert str(main) in caught.value.message
    assert expected in caught.value.message


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_a_list_or_a_clear_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    main = tmp_path_factory.mktemp("list") / "main.in"
    main.write_text(text, encoding="utf-8")
    try:
        message = str(read_python_inputs(main, python=">=3.11").file)
    except EnvError as error:
        message = error.message
    assert str(main.parent) in message


PUBLIC_YML = """
name: nuplan
channels: [defaults, conda-forge]
prefix: /home/somebody/envs/nuplan
platforms: [linux-64]
dependencies:
  - python=3.9
  - numpy=1.21.2=py39h20f2e39_0
  - cudatoolkit >= 11.1
  - pip:
      - torch==1.10.1+cu113
"""


def test_a_public_environment_yml_is_refused_at_once_with_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(EnvError) as caught:
        read(tmp_path, f"\ufeff{PUBLIC_YML}")
    said = caught.value.message
    for part in (
        "prefix says where somebody's environment lay; delete it",
        "channels[0] is 'defaults'",
        'write "python 3.9.*"',
        'write "numpy ==1.21.2 py39h20f2e39_0"',
        'write "cudatoolkit >=11.1"',
        "belong in requirements.in, a line each: torch==1.10.1+cu113",
    ):
        assert part in said, said


PUBLIC_LIST = """
--extra-index-url https://download.pytorch.org/whl/cu113
-f https://download.openmmlab.com/mmcv/dist/index.html
-e git+https://github.com/open-mmlab/mmdetection3d.git#egg=mmdet3d
git+https://github.com/facebookresearch/detectron2.git
numpy @ file:///croot/numpy_1672/work
shapely==1.8.5 \\
    --hash=sha256:0123456789012345678901234567890123456789012345678901234567890123
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_public_list_is_refused_at_once_with_what_is_wanted(tmp_path: Path, encoding: str) -> None:
    list_file = tmp_path / "requirements.in"
    list_file.write_bytes(PUBLIC_LIST.encode(encoding))
    with pytest.raises(EnvError) as caught:
        read_python_inputs(list_file, python=">=3.11")
    said = caught.value.message
    for number, part in enumerate(
        (
            "'--extra-index-url' is not allowed here: a list names no index",
            "'-f' is not allowed here: write the address of the wheel itself",
            "'-e' is not allowed here: a source tree is no package of a lock",
            "has no name; write NAME @ https://….whl",
            "write numpy==VERSION",
        ),
        start=2,
    ):
        assert f"{list_file}:{number}: " in said
        assert part in said, said
    assert "shapely" not in said, "hashes in a list are left out: the lock finds its own"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "requirements.in").write_bytes("shapely==1.8.5 --hash=sha256:12\n".encode(encoding))
    [package] = read_python_inputs(tmp_path / "requirements.in", python=">=3.11").packages
    assert (package.name, package.exact_version) == ("shapely", "1.8.5")
