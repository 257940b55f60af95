"""`admlops doctor`: a log, a pipe, the last failed build, or nothing."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.environments.prefix import write_state

THC = "[3/73] nvcc …\nx.cu:5:10: fatal error: THC/THC.h: No such file or directory\nninja: build stopped: x\n"
FLASH = "ModuleNotFoundError: No module named 'flash_attn'\n"
BUS_ERROR = "RuntimeError: DataLoader worker (pid 4161) is killed by signal: Bus error. Please raise your limit.\n"


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    return tmp_path / "environments"


def write(folder: Path, content: str | bytes, name: str = "build.log") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_log_is_explained(admlops: Admlops, tmp_path: Path) -> None:
    said = admlops("doctor", write(tmp_path, THC)).stdout
    assert "x.cu:5:10: fatal error: THC/THC.h" in said
    assert "rule torch-without-thc; see open-mmlab/mmcv#1582" in said
    assert "→ git checkout -- envs" in said


def test_what_is_not_known_is_said_to_be_so(admlops: Admlops, tmp_path: Path) -> None:
    log = write(tmp_path, "[1/2] nvcc a.cu\na.cu(3): error: expected ';' before '}' token\nninja: build stopped: x\n")
    done = admlops("doctor", log, check=False)
    assert done.returncode == 1
    assert "expected ';'" in done.stdout
    assert "unknown failure" in done.stdout
    found = json.loads(admlops("doctor", log, "--json", check=False).stdout)
    assert (found["state"], found["diagnosis"]) == ("unknown", None)
    assert any("expected ';'" in line for line in found["failures"][-1]["quoted"])


def test_a_log_in_which_nothing_failed(admlops: Admlops, tmp_path: Path) -> None:
    log = write(tmp_path, "mmdet - INFO - Epoch [1][50/100] loss: 4.1\nmmdet - INFO - Saving checkpoint at 1 epochs\n")
    assert "nothing failed in" in admlops("doctor", log).stdout
    assert json.loads(admlops("doctor", log, "--json").stdout)["state"] == "none"
    assert "nothing failed" in admlops("doctor", write(tmp_path, "", "empty.log")).stdout


def test_several_failures_are_listed_in_their_order(admlops: Admlops, tmp_path: Path) -> None:
    log = write(tmp_path, "ImportError: libGL.so.1: cannot open shared object file: x\n(second try)\n" + FLASH)
    said = admlops("doctor", log).stdout
    assert said.index("libGL.so.1 is missing") < said.index("flash_attn'") < said.index("rule flash-attention-missing")
    found = json.loads(admlops("doctor", log, "--json").stdout)
    rules = [one["diagnosis"]["rule"] for one in found["failures"]]
    assert rules == ["libgl-missing", "flash-attention-missing"]
    assert [one["line"] for one in found["failures"]] == [1, 3]


def test_an_unknown_failure_before_a_known_one_counts_for_the_exit_code(admlops: Admlops, tmp_path: Path) -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nplan.SolverError: rank 7\n'
    done = admlops("doctor", write(tmp_path, trace + "$ python b.py\n" + FLASH), check=False)
    assert done.returncode == 1
    assert "rule flash-attention-missing" in done.stdout
    assert "before, line 1: not known" in done.stdout


@pytest.mark.parametrize(
    "content",
    [
        FLASH.encode(),
        gzip.compress(FLASH.encode()),
        gzip.compress(FLASH.encode())[:-4],
        gzip.compress(b"first\n") + gzip.compress(FLASH.encode()),
        FLASH.encode("utf-16"),
        FLASH.encode("utf-16-le"),
        FLASH.encode("utf-16-be"),
        b"\xef\xbb\xbf" + FLASH.encode(),
        "Größe: 3\n".encode("latin-1") + FLASH.encode(),
        FLASH.replace("\n", "\r\n").encode(),
        ("\r".join(f"{n}%|###   | {n}/100" for n in range(100)) + "\r" + FLASH).encode(),
        b"\x1b[31;1mModuleNotFoundError\x1b[0m: No module named \x1b]8;;http://x\x07'flash_attn'\x1b]8;;\x07\n",
        FLASH.encode() + b"\0" * 3_000,
        b"ModuleNotFoundError: No module named \n'flash_attn'\n",
        b"\xe2\x94\x82 ModuleNotFoundError: No module named 'flash_attn'        \xe2\x94\x82\n",
    ],
    ids=[
        "plain",
        "gzip",
        "gzip-cut-short",
        "gzip-of-two",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-8-mark",
        "latin-1",
        "windows",
        "progress-bar",
        "colours",
        "zeros",
        "wrapped",
        "framed",
    ],
)
def test_a_log_of_any_form_is_read(admlops: Admlops, tmp_path: Path, content: bytes) -> None:
    log = write(tmp_path, content)
    for found in (admlops("doctor", log).stdout, piped(log)):
        assert "rule flash-attention-missing" in found
        assert "\x1b" not in found
        assert "\0" not in found


def piped(log: Path, *options: str) -> str:
    """What `admlops doctor -` says of a log on its standard input."""
    code = "from admlops.cli.main import main; main()"
    command = [sys.executable, "-c", code, "doctor", "-", *options]
    with log.open("rb") as file:
        return subprocess.run(command, stdin=file, capture_output=True, check=True, timeout=120).stdout.decode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + b"\0" * 100, "zip archive"),
        (b"\x7fELF" + b"\0" * 100, "a program"),
        (bytes(range(256)) * 40, "holds no text"),
        (b"\xfd7zXZ\0" + b"\0" * 100, "xz -dc"),
        (b"\x1f\x8b" + b"nonsense" * 10, "damaged gzip"),
        (gzip.compress(b"\x7fELF" + b"\0" * 100), "a program"),
    ],
    ids=["zip", "elf", "bytes", "xz", "bad-gzip", "packed-elf"],
)
def test_what_is_no_log_is_refused(admlops: Admlops, tmp_path: Path, content: bytes, why: str) -> None:
    done = admlops("doctor", write(tmp_path, content), check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_is_refused(admlops: Admlops, tmp_path: Path) -> None:
    done = admlops("doctor", tmp_path, check=False)
    assert done.returncode == 2
    assert "is a folder, not a log" in done.stderr


def test_neither_a_log_nor_a_run(admlops: Admlops, environments: Path) -> None:
    done = admlops("doctor", "nowhere", check=False, variables={"ADMLOPS_ENVIRONMENTS": str(environments)})
    assert done.returncode == 2
    assert 'no run is called "nowhere"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_the_end_of_a_huge_log_is_looked_at(admlops: Admlops, tmp_path: Path) -> None:
    line = "2022-05-04 10:20:13,414 - mmdet - INFO - Epoch [3][{}/3862] lr: 1e-4, time: 0.917, memory: 9137, loss: {}\n"
    log = tmp_path / "train.log"
    with log.open("w") as file:
        file.writelines(line.format(n, n / 7) for n in range(500_000))
        file.write(FLASH)
    said = admlops("doctor", log).stdout
    assert "only its end was looked at" in said
    assert "rule flash-attention-missing" in said
    assert json.loads(piped(log, "--json"))["skipped_bytes"] == log.stat().st_size - 16_000_000


@pytest.mark.timeout(120)
def test_a_log_full_of_failures_is_answered(admlops: Admlops, tmp_path: Path) -> None:
    trace = 'Traceback (most recent call last):\n  File "a{0}.py", line {0}, in f\nerror{0}.OddError: cannot {0} {0}x\n'
    log = write(tmp_path, "".join(trace.format(n) for n in range(20_000)) + FLASH)
    done = admlops("doctor", log, check=False)
    assert done.returncode == 1
    assert "rule flash-attention-missing" in done.stdout


def test_the_machine_is_asked_for_logs_of_this_machine_alone(admlops: Admlops, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    run = repository / "runs" / "one" / "logs"
    run.mkdir(parents=True)
    variables = {"ADMLOPS_REP_PATH": str(repository)}
    elsewhere, here = write(tmp_path, BUS_ERROR), write(run, BUS_ERROR)
    handed_in = json.loads(admlops("doctor", elsewhere, "--json", variables=variables).stdout)
    assert handed_in["diagnosis"]["rule"] == "shared-memory-full"
    asked = [
        json.loads(admlops("doctor", *arguments, "--json", variables=variables, check=False).stdout)
        for arguments in ((here,), (elsewhere, "--here"))
    ]
    for found in asked:  # this machine's /dev/shm is large, and refutes the rule; or small, and its size is said
        assert found["diagnosis"] is None or "it has" in found["diagnosis"]["cause"]


def test_nothing_has_failed(admlops: Admlops, environments: Path) -> None:
    assert "nothing has failed here" in admlops("doctor", variables={"ADMLOPS_ENVIRONMENTS": str(environments)}).stdout


def test_the_last_failed_build_is_found(admlops: Admlops, environments: Path) -> None:
    said = broken_build(admlops, environments, "nvcc fatal   : Unsupported gpu architecture 'compute_120'")
    assert said.returncode == 0
    assert "MapTR-modern-0123456789ab: its build failed" in said.stdout
    assert "nvcc does not know compute_120" in said.stdout


def test_the_last_failed_build_that_is_not_known(admlops: Admlops, environments: Path) -> None:
    said = broken_build(admlops, environments, "the moon was full")
    assert said.returncode == 1
    assert "the moon was full" in said.stdout
    assert "→ less build.log" in said.stdout


def broken_build(admlops: Admlops, environments: Path, words: str) -> subprocess.CompletedProcess[str]:
    prefix = environments / "MapTR-modern-0123456789ab"
    prefix.mkdir(parents=True)
    details = {"reason": "mmcv-full 1.7.2 could not be compiled", "said": words, "hint": "less build.log"}
    write_state(prefix, name="MapTR-modern", state="broken", digest="0" * 64, installer="venv", details=details)
    return admlops("doctor", check=False, variables={"ADMLOPS_ENVIRONMENTS": str(environments)})


def test_the_rules_are_listed(admlops: Admlops) -> None:
    listed = admlops("doctor", "--rules").stdout
    assert listed.count("torch-without-thc") == 1
    rules = json.loads(admlops("doctor", "--rules", "--json").stdout)
    assert {"id", "says", "phases", "specificity", "cause", "hint"} <= set(rules[0])
