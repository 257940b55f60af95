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
from tests.checkpoints.torch_pythons import torch_pythons_or_skip

from admlops.checkpoints import inspect
from admlops.checkpoints.names import CALLABLE, VALUES, is_own
from admlops.checkpoints.pickles import read_pickle
from admlops.checkpoints.values import RefusedError
from admlops.core.errors import CheckpointError

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
    assert not Path("canary").exists()
    assert raised.value.hint
    text = raised.value.message.removeprefix(f"{path} ")
    assert text.startswith(("is refused: ", "is no checkpoint: it is "))
    return text.partition(": ")[2]


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
    inspect(write_zip(tmp_path / "w.pth", pickled({**checkpoint(), "more": value}, protocol), STORAGES))


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


@pytest.mark.full
def test_files_that_torch_itself_saved(tmp_path: Path) -> None:
    for index, python in enumerate(torch_pythons_or_skip()):
        folder = tmp_path / str(index)
        folder.mkdir()
        subprocess.run([python, SAVE, folder], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        good = [path for path in folder.iterdir() if not path.name.startswith("bad-")]
        assert {inspect(path, whole=True).format for path in good} == {"torch zip", "torch legacy"}
        assert "posix.system" in refusal(folder / "bad-zip.pth")
        assert "posix.system" in refusal(folder / "bad-legacy.pth")
        assert "a whole network was saved" in refusal(folder / "bad-module.pth")
        for name in ("weights", "full"):  # the same weights in either format
            first, second = (inspect(folder / f"{name}-{kind}.pth", whole=True) for kind in ("zip", "legacy"))
            assert first.tensors_sha256 == second.tensors_sha256
            assert first.weights.signature == second.weights.signature
        assert "TorchScript" in refusal(folder / "bad-script.pth")


# --- pickles that would run code

COMMAND = "touch canary"
TENSOR = (
    b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00"
    b"cpuK\x01tQK\x00K\x01\x85K\x01\x85t"
)
"""The arguments that a tensor of one item is rebuilt from."""
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
    "getattr of a module's": (b"cbuiltins\ngetattr\n(cos\npath\nX\x01\x00\x00\x00atR.", "names os.path"),
    "getattr of a known class": (
        b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\nX\x08\x00\x00\x00fromkeystR.",
        "calls builtins.getattr on the global collections.OrderedDict",
    ),
    "getattr of what is hidden": (
        b"cbuiltins\ngetattr\n(cmine.data\nBox\nX\x0b\x00\x00\x00__globals__tR.",
        "calls builtins.getattr on the global mine.data.Box",
    ),
    "getattr of what a call gave": (
        b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\n)RX\x01\x00\x00\x00atR.",
        "calls",
    ),
    "an own function": (b"cmine.tools\nrun\n(X\x01\x00\x00\x00atR.", "calls mine.tools.run"),
    "an own class with a command": (
        b"cmine.tools\nRun\n(X\x0c\x00\x00\x00touch canarytR.",
        "calls mine.tools.Run, which is not known to be harmless",
    ),
    "an own class with two values": (b"cmine.tools\nRun\n(K\x01K\x02tR.", "calls mine.tools.Run"),
    "an own class in a hidden place": (b"cmine.tools\n__loader__.Get\n)R.", "names mine.tools.__loader__.Get"),
    "a plain object of a known class": (
        b"ccopyreg\n_reconstructor\n(csubprocess\nPopen\ntR.",
        "names subprocess.Popen",
    ),
    "a plain object of an allowed one": (
        b"ccopyreg\n_reconstructor\n(ccollections\nOrderedDict\ntR.",
        "calls copyreg._reconstructor on the global collections.OrderedDict",
    ),
    "a subclass's tensor by a function": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cmine.tools\nrun\nctorch\nTensor\n)}tR.",
        "calls torch._tensor._rebuild_from_type_v2 in a way",
    ),
    "a tensor without a storage": (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "in a way that torch does not write"),
    "a tensor beyond its storage": (
        b"ctorch._utils\n_rebuild_tensor_v2\n" + TENSOR.replace(b"K\x01\x85K\x01\x85", b"K\x02\x85K\x01\x85") + b"R.",
        "larger than its storage 0",
    ),
    "an odd dictionary": (b"(K\x01d.", "a key that has no value"),
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
    "state of a tensor": (
        b"ctorch._utils\n_rebuild_tensor_v2\n" + TENSOR + b"R}b.",
        "changes the state of an instance",
    ),
    "items of a class": (b"ccollections\nOrderedDict\nK\x01K\x02s.", "fills the global collections.OrderedDict"),
    "items of a tensor": (b"ctorch._utils\n_rebuild_tensor_v2\n" + TENSOR + b"R(K\x01K\x02u.", "fills an instance"),
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
    assert "a pickle, but not one that torch.save wrote" in refusal(path)


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
    assert all(name in CALLABLE | VALUES or is_own(name) for name in seen.globals)


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
        assert all(name in CALLABLE | VALUES or is_own(name) for name in seen.globals)


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


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.pth.tar", "w.bin", "w.safetensors", "w.onnx", "w"])
def test_the_content_decides_and_no_suffix(tmp_path: Path, name: str) -> None:
    archive = inspect(write_zip(tmp_path / name, pickled(checkpoint()), STORAGES), whole=True)
    legacy = inspect(write_legacy(tmp_path / name, pickled(checkpoint()), STORAGES), whole=True)
    tensors = inspect(write_safetensors(tmp_path / name, ONE, b"\0" * 8), whole=True)
    assert [archive.format, legacy.format, tensors.format] == ["torch zip", "torch legacy", "safetensors"]
    assert archive.tensors_sha256 == legacy.tensors_sha256
