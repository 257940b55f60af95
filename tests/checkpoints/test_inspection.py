"""What is accepted as a checkpoint and what is refused: benign files of every format, and every trick we know."""

from __future__ import annotations

import _compat_pickle
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints.torch_files import (
    STORAGES,
    checkpoint,
    pickled,
    write_legacy,
    write_safetensors,
    write_zip,
)

from admlops.catalog import load_model
from admlops.checkpoints import inspect
from admlops.checkpoints.pickles import CALLABLE, VALUES, RefusedError, read_pickle
from admlops.core.errors import CheckpointError
from admlops.core.paths import find_layout
from admlops.environments import find_model

SAVE = Path(__file__).with_name("save_with_torch.py")


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every malicious pickle here would make."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"


def refusal(path: Path) -> str:
    """Why a file is refused."""
    with pytest.raises(CheckpointError) as raised:
        inspect(path, whole=True)
    assert "is refused: " in raised.value.message
    assert raised.value.hint.startswith("do not load it")
    assert not Path("canary").exists()
    return raised.value.message.partition("is refused: ")[2]


# --- what is accepted


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_trainers_checkpoint_is_accepted(tmp_path: Path, write: Callable[..., Path], protocol: int) -> None:
    seen = inspect(write(tmp_path / "w.pth", pickled(checkpoint(), protocol), STORAGES), whole=True)
    assert seen.format == ("torch zip" if write is write_zip else "torch legacy")
    assert seen.tensors == 2
    assert seen.size_bytes == (tmp_path / "w.pth").stat().st_size
    assert "torch._utils _rebuild_tensor_v2" in seen.globals


@pytest.mark.parametrize(
    "value", [np.float64(0.5), np.arange(4), np.ones(2, np.float32), {1, 2}, frozenset("a"), 1j, b"\x80"]
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_values_that_trainers_keep_are_accepted(tmp_path: Path, value: object, protocol: int) -> None:
    inspect(write_zip(tmp_path / "w.pth", pickled({"meta": value}, protocol), {}))


def test_members_of_newer_torch_are_accepted(tmp_path: Path) -> None:
    more = {"w/.data/serialization_id": b"1" * 40, "w/.format_version": b"1", "w/.storage_alignment": b"64"}
    inspect(write_zip(tmp_path / "w.pth", pickled(checkpoint()), STORAGES, more=more), whole=True)


def test_safetensors_are_accepted(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2, 2], "data_offsets": [4, 20]},
        "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "nothing": {"dtype": "I64", "shape": [0, 3], "data_offsets": [4, 4]},
    }
    seen = inspect(write_safetensors(tmp_path / "w.safetensors", header, b"\0" * 20))
    assert (seen.format, seen.tensors, seen.globals) == ("safetensors", 3, ())


def torch_pythons() -> list[tuple[str, Path]]:
    """The interpreters of the environments with torch that are built here, and those that a variable names."""
    named = [Path(one) for one in os.environ.get("ADMLOPS_TEST_TORCH_PYTHONS", "").split(os.pathsep) if one]
    layout = find_layout()
    model = load_model(layout, "MapTR")
    built = [(variant, find_model(layout, model, variant)) for variant in model.variants]
    return [(str(path), path) for path in named] + [(name, one.python) for name, one in built if one is not None]


@pytest.mark.full
def test_files_that_torch_itself_saved(tmp_path: Path) -> None:
    pythons = torch_pythons()
    if not pythons:
        pytest.skip("needs an environment with torch: admlops env install MapTR, or ADMLOPS_TEST_TORCH_PYTHONS=PYTHON")
    for index, (_, python) in enumerate(pythons):
        folder = tmp_path / str(index)
        folder.mkdir()
        subprocess.run([python, SAVE, folder], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        good = [path for path in folder.iterdir() if not path.name.startswith("bad-")]
        assert {inspect(path, whole=True).format for path in good} == {"torch zip", "torch legacy"}
        assert "posix.system" in refusal(folder / "bad-zip.pth")
        assert "posix.system" in refusal(folder / "bad-legacy.pth")
        assert "torch.nn.modules" in refusal(folder / "bad-module.pth")
        assert "TorchScript" in refusal(folder / "bad-script.pth")


# --- pickles that would run code

COMMAND = "touch canary"
CALLS: dict[str, tuple[bytes, str]] = {
    "reduce": (b"cposix\nsystem\n(X\x0c\x00\x00\x00touch canarytR.", "GLOBAL at byte 0 names posix.system"),
    "stack global": (
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
        "STACK_GLOBAL at byte 17 names posix.system",
    ),
    "stack global by memo": (
        b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x94h\x01h\x00\x93\x8c\x0ctouch canary\x85R.",
        "STACK_GLOBAL at byte 23 names posix.system",
    ),
    "inst": (
        b"(X\x0c\x00\x00\x00touch canaryiposix\nsystem\n.",
        "INST at byte 18 is an opcode that torch",
    ),
    "obj": (b"(cposix\nsystem\nX\x0c\x00\x00\x00touch canaryo.", "GLOBAL at byte 1 names posix.system"),
    "newobj": (b"\x80\x02csubprocess\nPopen\n(X\x0c\x00\x00\x00touch canary)t\x81.", "names subprocess.Popen"),
    "newobj_ex": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
    "getattr": (b"cbuiltins\ngetattr\n.", "names builtins.getattr"),
    "eval": (b"\x80\x02c__builtin__\neval\nX\x04\x00\x00\x001+1 \x85R.", "names __builtin__.eval"),
    "import by operator": (b"coperator\nattrgetter\n.", "names operator.attrgetter"),
    "dotted name": (
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
        "collections.OrderedDict.fromkeys",
    ),
    "a storage that unpickles": (b"ctorch.storage\n_load_from_bytes\n(C\x01.tR.", "torch.storage._load_from_bytes"),
    "torch's own loader": (b"ctorch\nload\n.", "names torch.load"),
    "hub": (b"ctorch.hub\nload\n.", "names torch.hub.load"),
    "numpy's loader": (b"cnumpy\nload\n.", "names numpy.load"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "class that is only a value": (b"ctorch\nFloatStorage\n(K\x01tR.", "calls torch.FloatStorage"),
    "call of what a call gave": (
        b"ccollections\nOrderedDict\n)R)R.",
        "calls an instance of collections.OrderedDict",
    ),
    "call of a text": (b"X\x01\x00\x00\x00a)R.", "calls a str"),
    "arguments that are no tuple": (b"ccollections\nOrderedDict\n]R.", "with something that is no tuple"),
    "state of a class": (b"ccollections\nOrderedDict\n}b.", "changes the state of the global collections.OrderedDict"),
    "state of a function": (b"ctorch._utils\n_rebuild_tensor_v2\nN}\x86b.", "changes the state of the global"),
    "state of a tensor": (b"ctorch._utils\n_rebuild_tensor_v2\n)R}b.", "changes the state of an instance"),
    "items of a class": (b"ccollections\nOrderedDict\nK\x01K\x02s.", "fills the global collections.OrderedDict"),
    "items of a tensor": (b"ctorch._utils\n_rebuild_tensor_v2\n)R(K\x01K\x02u.", "fills an instance"),
    "append to an instance": (b"ccollections\nOrderedDict\n)RK\x01a.", "fills an instance"),
    "name by a number": (b"\x80\x04K\x01K\x02\x93.", "names a global by values that are no texts"),
    "name by a tuple": (b"\x80\x04\x8c\x05posix)\x93.", "names a global by values that are no texts"),
    "persistent text": (b"Pposix.system\n.", "PERSID"),
    "persistent module": (b"(X\x06\x00\x00\x00modulecposix\nsystem\ntQ.", "names posix.system"),
    "persistent nothing": (b"K\x01Q.", "refers to something outside that is no storage"),
    "storage of a class that is none": (
        b"(X\x07\x00\x00\x00storageccollections\nOrderedDict\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        "refers to a storage in a way that torch does not write",
    ),
    "empty stack": (b"0.", "takes from an empty stack"),
    "no mark": (b"t.", "mark that is not there"),
    "memo that was not written": (b"h\x07.", "reads a memo"),
    "memo of nothing": (b"q\x00.", "writes an empty stack"),
    "duplicate": (b"K\x012\x85.", "DUP"),
    "no end": (b"K\x01", "not a pickle"),
    "nothing": (b"", "not a pickle"),
    "unknown opcode": (b"\xff.", "not a pickle"),
    "a text of 2 GiB": (b"X\x00\x00\x00\x7fabc.", "a value of 2130706432 bytes"),
    "bytes of 1 EiB": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.", f"a value of {1 << 60} bytes"),
    "a name in another alphabet": ("cpоsix\nsystem\n.".encode(), "not a pickle"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_does_more_than_rebuild_tensors_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = CALLS[name]
    assert reason in refusal(write_zip(tmp_path / "zip.pth", content, {}))
    assert refusal(write_legacy(tmp_path / "legacy.pth", content, {}))


@pytest.mark.parametrize("name", ["reduce", "stack global", "stack global by memo", "inst", "obj"])
def test_these_pickles_do_run_code_when_they_are_loaded(canary: Path, name: str) -> None:
    """So that the tests above refuse the real thing."""
    pickle.loads(CALLS[name][0])
    assert canary.exists()


class Runs:
    """What a pickle made by Python itself looks like."""

    def __reduce__(self) -> Any:
        return os.system, (COMMAND,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_call_hidden_deep_inside_is_found(tmp_path: Path, write: Callable[..., Path], protocol: int) -> None:
    content = checkpoint()
    content["meta"]["hooks"] = [[{"a": (1, 2, 3, Runs())}]]
    if protocol < 2:
        data = pickle.dumps(content["meta"], protocol)
        assert refusal(write(tmp_path / "w.pth", data, {}))
        return
    assert "posix.system" in refusal(write(tmp_path / "w.pth", pickled(content, protocol), STORAGES))


@pytest.mark.parametrize("part", range(5))
def test_every_pickle_of_the_old_format_is_read(tmp_path: Path, part: int) -> None:
    path = write_legacy(tmp_path / "w.pth", pickled(checkpoint()), STORAGES)
    whole, ends, stream = path.read_bytes(), [0], io.BytesIO(path.read_bytes())
    for _ in range(5):
        read_pickle(stream)
        ends.append(stream.tell())
    path.write_bytes(whole[: ends[part]] + CALLS["reduce"][0] + whole[ends[part + 1] :])
    assert "posix.system" in refusal(path)


def test_a_pickle_that_torch_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"a": 1}, 2) * 5)
    assert "not one that torch.save wrote" in refusal(path)


def test_no_allowed_name_means_another_under_an_old_protocol() -> None:
    """Python renames modules of Python 2 when it loads protocols 0 to 2; that must not lead off the lists."""
    for joined in CALLABLE | VALUES:
        module, name = joined.split(" ")
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        assert f"{module} {name}" in CALLABLE | VALUES


ALLOWED = sorted(CALLABLE | VALUES)
PIECES = st.one_of(
    st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes]),
    st.sampled_from([f"c{name.replace(' ', chr(10))}\n".encode() for name in ALLOWED]),
    st.sampled_from([b"cposix\nsystem\n", b"X\x01\x00\x00\x00a", b"K\x01", b"h\x00", b"q\x00", b"}", b")", b"(", b"t"]),
    st.binary(max_size=6),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_any_bytes_are_read_or_refused_and_never_named_wrongly(content: bytes) -> None:
    try:
        seen = read_pickle(io.BytesIO(content))
    except RefusedError:
        return
    assert seen.globals <= CALLABLE | VALUES


# --- archives that are not what they seem


def rewrite(path: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "w.pth", pickled(checkpoint()), STORAGES)


@pytest.mark.parametrize(
    "name",
    [
        "w/extra.pkl",
        "w/data/evil.pkl",
        "w/data/0.pkl",
        "w/../../etc/cron.d/x",
        "/etc/x",
        "w/data/..",
        "w\\data\\0",
        "w/",
    ],
)
def test_members_that_torch_does_not_write(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "w.pth", pickled(checkpoint()), STORAGES, more={name: CALLS["reduce"][0]})
    assert "none that torch writes" in refusal(path)


@pytest.mark.parametrize("name", ["other/.format_version", "../.format_version", "/.format_version"])
def test_a_second_root(tmp_path: Path, name: str) -> None:
    assert "no single folder" in refusal(write_zip(tmp_path / "w.pth", pickled({}), {}, more={name: b"3"}))


@pytest.mark.parametrize("root", ["..", "."])
def test_a_root_that_is_no_name(tmp_path: Path, root: str) -> None:
    assert "no single folder" in refusal(write_zip(tmp_path / "w.pth", pickled({}), {}, root=root))


def test_a_torchscript_program(tmp_path: Path) -> None:
    more = {"w/code/__torch__.py": b"", "w/constants.pkl": b""}
    assert "TorchScript" in refusal(write_zip(tmp_path / "w.pth", pickled({}), {}, more=more))


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write_zip(tmp_path / "w.pth", pickled(checkpoint()), STORAGES, more={"w/data.pkl": CALLS["reduce"][0]})
    assert "there twice" in refusal(path)


def test_a_large_small_member(tmp_path: Path) -> None:
    more = {"w/.data/serialization_id": b"0" * 5000}
    assert "5000 bytes" in refusal(write_zip(tmp_path / "w.pth", pickled({}), {}, more=more))


def test_a_compressed_bomb(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    assert "compressed" in refusal(path)


def test_overlapping_members(good: Path) -> None:
    """Many names for the same bytes: small on disk, large when it is read."""

    def change(content: bytearray) -> None:
        entry = content.rfind(b"PK\x01\x02")  # the directory's last entry
        content[entry + 42 : entry + 46] = struct.pack("<I", 0)

    assert refusal(rewrite(good, change))


def test_something_before_the_archive(good: Path) -> None:
    good.write_bytes(good.read_bytes()[:4] + b"\0" * 100 + good.read_bytes())
    assert refusal(good)


def test_something_after_the_archive(good: Path) -> None:
    good.write_bytes(good.read_bytes() + b"PK\x05\x06" + b"\0" * 18)
    assert refusal(good)


def test_a_damaged_storage(good: Path) -> None:
    def change(content: bytearray) -> None:
        content[content.find(b"\x01" * 16) + 3] = 2

    assert "w/data/0 is damaged" in refusal(rewrite(good, change))


@pytest.mark.parametrize("storages", [{"0": 12}, {"0": 12, "94367480112": 5}])
def test_storages_that_do_not_fit_the_pickle(tmp_path: Path, storages: dict[str, int]) -> None:
    assert "94367480112" in refusal(write_zip(tmp_path / "w.pth", pickled(checkpoint()), storages))
    assert "cut or damaged" in refusal(write_legacy(tmp_path / "l.pth", pickled(checkpoint()), storages))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_file_that_is_cut_anywhere(tmp_path: Path, write: Callable[..., Path]) -> None:
    whole = write(tmp_path / "w.pth", pickled(checkpoint()), STORAGES).read_bytes()
    for end in random.Random(1).sample(range(len(whole)), 60):
        (tmp_path / "w.pth").write_bytes(whole[:end])
        refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_file_with_any_byte_changed_is_refused_or_harmless(tmp_path: Path, write: Callable[..., Path]) -> None:
    whole = write(tmp_path / "w.pth", pickled(checkpoint()), STORAGES).read_bytes()
    choose = random.Random(2)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[choose.randrange(len(whole))] = choose.randrange(256)
        (tmp_path / "w.pth").write_bytes(damaged)
        try:
            seen = inspect(tmp_path / "w.pth", whole=True)
        except CheckpointError:
            continue
        assert set(seen.globals) <= CALLABLE | VALUES


def test_a_tar_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("../../etc/x")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert "tar file" in refusal(path)


def test_a_tar_file_that_is_an_old_checkpoint_as_well(tmp_path: Path) -> None:
    """torch.load tries tar first: the name of the first member can be the begin of a pickle."""
    legacy = write_legacy(tmp_path / "w.pth", pickled(checkpoint()), STORAGES).read_bytes()
    header = bytearray(legacy[:100] + b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2 + b" " * 8)
    header = header.ljust(512, b"\0")
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "w.pth").write_bytes(bytes(header) + legacy[512:])
    assert "tar file" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<!DOCTYPE html>", b"\x7fELF" + b"\0" * 600, b"\0" * 2000])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        inspect(tmp_path / "absent.pth")


# --- safetensors

ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        (ONE, b"\0" * 7, None),
        (ONE, b"\0" * 9, None),
        (ONE, b"\0" * 8, 10**12),
        (ONE, b"\0" * 8, 1),
        (b"\x80\x02}q\x00.", b"", None),
        (b"[1, 2]", b"", None),
        (b'{"a": 1, "a": 2}', b"", None),
        (b"[" * 100_000, b"", None),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"\0" * 8, None),
        ({"a": {"dtype": "OBJECT", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8, None),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}, b"\0" * 8, None),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12, None),
        ({**ONE, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12, None),
        ({"a": [1]}, b"", None),
        ({"__metadata__": {"a": 1}}, b"", None),
    ],
)
def test_safetensors_that_contradict_themselves(tmp_path: Path, header: Any, data: bytes, length: int | None) -> None:
    assert refusal(write_safetensors(tmp_path / "w.safetensors", header, data, length=length))


def test_the_suffix_decides_who_loads_it(good: Path, tmp_path: Path) -> None:
    """A file that is a safetensors file by its bytes is still unpickled by torch.load, and the other way round."""
    assert refusal(good.rename(tmp_path / "w.safetensors"))
    assert refusal(write_safetensors(tmp_path / "x.pth", ONE, b"\0" * 8))
