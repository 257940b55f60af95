"""What people add as weights and is none: it is said what it is and what to do, whatever its name is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints.torch_files import STORAGES, checkpoint, pickled, write_legacy, write_safetensors, write_zip

from admlops.checkpoints import inspect
from admlops.core.errors import CheckpointError

QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p>Too many users have viewed or downloaded this file recently. Please try again later.</p></body></html>"""
SCAN = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><form id="download-form" action="https://drive.usercontent.google.com/download"></form></body></html>"""
SIGN_IN = (
    "<html><head><title>Sign in - Google Accounts</title></head><body><a href='ServiceLogin'>google</a></body></html>"
)
LOGIN = "\n\n<!-- 1 --><html><head><title>Log in | Dropbox</title></head><input type=password></html>"
LFS = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258\nsize 12345\n"
)
S3 = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>1</RequestId></Error>"""
INDEX = {
    "metadata": {"total_size": 1},
    "weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"},
}
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x051.9.1" + b"\x3a\x10" + b"\x00" * 200
ENGINE = b"ftrt\x00\x00\x00\x00" + b"\x01" * 400


def archived(names: list[str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 20)
    return stream.getvalue()


def tarred(names: list[str], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    return stream.getvalue()


def saved_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(4))
    return stream.getvalue()


def saved_arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(4))
    return stream.getvalue()


KINDS: dict[str, tuple[bytes, str, str]] = {
    # what it is, the words that say so, the words of what to do
    "nothing": (b"", "an empty file", "download the file again"),
    "zeros": (b"\0" * 5000, "begins with zeros", "download the file again"),
    "Drive's quota": (QUOTA.encode(), "a web page, not weights: Google Drive's quota", "in a browser"),
    "Drive's warning": (SCAN.encode(), "did not scan the file for viruses", "in a browser"),
    "Drive's sign-in": (SIGN_IN.encode(), "is not public any more", "in a browser"),
    "a login page": (LOGIN.encode(), 'a login page ("Log in | Dropbox")', "sign in"),
    "a page with a mark of its encoding": (
        b"\xef\xbb\xbf<html><title>Gone</title>",
        'a web page, not weights: "Gone"',
        "",
    ),
    "a page in UTF-16": ("<html><title>Gone</title>".encode("utf-16"), 'a web page, not weights: "Gone"', ""),
    "a page in Latin-1": ("<html><title>Téléchargement</title>".encode("latin-1"), "a web page", ""),
    "a page in capitals": (b"<HTML><HEAD><TITLE>404</TITLE></HEAD></HTML>", 'a web page, not weights: "404"', ""),
    "a pointer of LFS": (LFS.encode(), "a pointer of Git LFS", "git lfs pull"),
    "a pointer of git-annex": (b"/annex/objects/SHA256E-s12--ab.pth\n", "a pointer of git-annex", "git annex get"),
    "a pointer of DVC": (b"outs:\n- md5: a1\n  path: w.pth\n", "a pointer of DVC", "dvc pull"),
    "XML of S3": (S3.encode(), 'an error message in XML, not weights: "AccessDenied: Access Denied"', "again"),
    "JSON": (b'{"error": {"code": 403, "message": "Forbidden"}}', 'in JSON, not weights: "403 Forbidden"', "again"),
    "JSON of a hub": (b'{"error":"Repository not found"}', '"Repository not found"', "again"),
    "JSON of another": (b'{"detail": "Not authenticated"}', '"Not authenticated"', "again"),
    "JSON in a list": (b'[{"a": 1}]', "a text in JSON", "again"),
    "an index": (json.dumps(INDEX).encode(), "the index of a checkpoint in 2 files", "join"),
    "a word": (b"Not Found", 'a text that begins "Not Found"', "again"),
    "a line": (b"Entry not found\n", 'a text that begins "Entry not found"', "again"),
    "a config": (b"_base_ = ['a.py']\nmodel = dict(type='MapTR')\n", "a text that begins", "again"),
    "gzip": (gzip.compress(b"x" * 100), "a gzip archive", "gunzip"),
    "a tar in gzip": (tarred(["w.pth"], "w:gz"), "a gzip archive around a tar file that begins with w.pth", "tar -xf"),
    "a tar in bzip2": (tarred(["a/w.pth"], "w:bz2"), "a bzip2 archive around a tar file", "tar -xf"),
    "a tar in xz": (tarred(["a/w.pth"], "w:xz"), "an xz archive around a tar file that begins with a/w.pth", "tar -xf"),
    "a checkpoint in gzip": (gzip.compress(archived(["w/data.pkl"])), "a gzip archive around a checkpoint", "gunzip"),
    "a damaged gzip": (b"\x1f\x8b" + b"\xff" * 40, "a gzip archive, and damaged", "again"),
    "unknown bytes": (
        b"\x1a\x45\xdf\xa3" + b"\x9f" * 60,
        "an unknown kind, which begins with the bytes 1a 45 df a3",
        "again",
    ),
    "bzip2": (bz2.compress(b"x" * 100), "a bzip2 archive", "bunzip2"),
    "xz": (lzma.compress(b"x" * 100), "an xz archive", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"\1" * 50, "a Zstandard archive", "unzstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"\1" * 50, "a 7-Zip archive", "7z x"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + b"\1" * 50, "a RAR archive", "unrar"),
    "a zip around it": (archived(["maptr_tiny_r50_24e.pth"]), "a zip archive around maptr_tiny_r50_24e.pth", "unzip"),
    "a zip around it, in a folder": (archived(["out/", "out/log.txt", "out/best.pth"]), "around out/best.pth", "unzip"),
    "a zip of other things": (archived(["a.txt", "b.txt"]), "a zip archive that holds a.txt, b.txt", "unzip"),
    "a tar around it": (tarred(["run/best.pth", "run/log.txt"]), "a tar file around run/best.pth", "tar -xf"),
    "torch's first format": (
        tarred(["sys_info", "pickle", "tensors", "storages"]),
        "the format of torch before 0.1.11",
        "",
    ),
    "TorchScript": (
        archived(["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"]),
        "a TorchScript program",
        "torch.save",
    ),
    "ONNX": (ONNX, "an ONNX model", "torch.save"),
    "TensorRT": (ENGINE, "a TensorRT engine", "torch.save"),
    "TensorRT of Ultralytics": (struct.pack("<I", 10) + b'{"a": "b"}' + ENGINE, "a TensorRT engine", "torch.save"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + b"\1" * 50, "a TensorFlow Lite model", ""),
    "Keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "an HDF5 file", ""),
    "an array": (saved_array(), "a NumPy array", ""),
    "arrays": (saved_arrays(), "NumPy arrays in an .npz archive", ""),
    "arrays of detectron2": (pickle.dumps({"model": {"a": np.ones(3)}}, 2), "a pickle of NumPy arrays", "torch.save"),
    "a plain pickle": (pickle.dumps({"epoch": 3}, 4), "a pickle, but not one that torch.save wrote", "torch.save"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a picture (PNG)", ""),
    "a program": (b"\x7fELF" + b"\0" * 60, "a compiled program", ""),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", KINDS)
def test_it_is_said_what_a_file_is_that_is_no_checkpoint(tmp_path: Path, name: str, suffix: str) -> None:
    content, what, hint = KINDS[name]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        inspect(path, whole=True)
    assert raised.value.message.startswith(f"{path} is no checkpoint: it is ")
    assert what in raised.value.message
    assert hint in raised.value.hint
    assert "opcode" not in raised.value.message


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_download_that_did_not_end_is_said_to_be_cut(tmp_path: Path, share: float) -> None:
    path = write_zip(tmp_path / "w.pth", pickled(checkpoint()), STORAGES)
    path.write_bytes(path.read_bytes()[: max(40, int(path.stat().st_size * share))])
    with pytest.raises(CheckpointError, match="is refused: it is cut: an archive without its end") as raised:
        inspect(path)
    assert raised.value.hint.startswith("download the file again")


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_an_old_checkpoint_that_is_cut(tmp_path: Path, share: float) -> None:
    path = write_legacy(tmp_path / "w.pth", pickled(checkpoint()), STORAGES)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="is refused: it is cut") as raised:
        inspect(path)
    assert raised.value.hint.startswith("download the file again")


def test_safetensors_that_are_cut(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [200], "data_offsets": [0, 800]}}
    path = write_safetensors(tmp_path / "w.pth", header, b"\0" * 800)
    for size_bytes in (20, 500):
        path.write_bytes(path.read_bytes()[:size_bytes])
        with pytest.raises(CheckpointError, match="is refused: it is cut"):
            inspect(path)


def test_a_zip_that_says_another_length_of_a_tensor_is_damaged_and_not_dangerous(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.pth", pickled(checkpoint()), {"0": 12, "94367480112": 3})
    with pytest.raises(CheckpointError, match="is refused: the storage 94367480112") as raised:
        inspect(path)
    assert raised.value.hint.startswith("download the file again")


@pytest.mark.parametrize(
    "content", [[1, 2, 3], {}, OrderedDict(), {"state_dict": OrderedDict()}, {"epoch": 3, "meta": {"a": 1}}, "w", 7]
)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_checkpoint_without_tensors_is_none(tmp_path: Path, content: object, write: object) -> None:
    path = write(tmp_path / "w.pth", pickled(content), {})  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=r"it is a file of torch\.save without weights: it holds") as raised:
        inspect(path, whole=True)
    assert "model.state_dict()" in raised.value.hint


def test_safetensors_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a safetensors file without weights"):
        inspect(write_safetensors(tmp_path / "w.safetensors", {"__metadata__": {"format": "pt"}}, b""))


def test_a_refused_pickle_names_the_way_out_for_ones_own_weights(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.pth", b"cmine.tools\nrun\n)R.", {})
    with pytest.raises(CheckpointError, match=r"calls mine\.tools\.run") as raised:
        inspect(path)
    assert 'torch.save({"state_dict": model.state_dict()}, "weights.pth")' in raised.value.hint
    assert "docs/checkpoints.md" in raised.value.hint


def test_a_whole_network_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.pth", b"ctorch.nn.modules.conv\nConv2d\n)\x81}b.", {})
    with pytest.raises(CheckpointError, match="a whole network was saved, with its code, not its weights"):
        inspect(path)
