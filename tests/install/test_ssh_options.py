"""install/ssh.sh: what it refuses before it touches anything, and --dry-run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

SCRIPT = find_layout().root / "install" / "ssh.sh"

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: apt-get install openssh-client"
)


def run(root: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.environ["PATH"], "HOME": str(root), **variables}
    command: list[str | Path] = [SCRIPT, "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=plain)


def make_key(folder: Path, *options: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", folder / "key", *options], check=True)
    return (folder / "key.pub").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    ssh = tmp_path / "root" / "etc" / "ssh"
    ssh.mkdir(parents=True)
    (ssh / "sshd_config").write_text(f"Include {ssh}/sshd_config.d/*.conf\n")
    return tmp_path / "root"


def test_a_dry_run_says_all_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    before = sorted(root.rglob("*"))
    key = make_key(tmp_path, "-t", "ed25519")
    said = run(root, "--dry-run", PUBLIC_KEY=key, SSH_PASSWORD="correct horse battery", SUDO_USER="alice")
    assert said.returncode == 0, said.stderr
    assert "let in 1 given public keys, for root runpod alice" in said.stdout
    assert "PermitRootLogin prohibit-password" in said.stdout
    assert "Match User runpod" in said.stdout
    assert "correct horse" not in said.stdout
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        (("--profile", "lax"), {}, "--profile lax is neither strict nor compatible"),
        (("--port", "0"), {}, "the port 0"),
        (("--port", "65536"), {}, "the port 65536"),
        ((), {"SSH_PORT": "ssh"}, "the port ssh (--port or SSH_PORT)"),
        (("--port",), {}, "--port needs a value"),
        (("--nope",), {}, "unknown option --nope"),
        (("--keys", "/nowhere/keys"), {}, "--keys /nowhere/keys cannot be read"),
        (("--dry-run",), {}, "nobody could come in"),
        (
            ("--dry-run",),
            {"PUBLIC_KEY": "ssh-ed25519 AAAAnonsense me"},
            "this is no public key: ssh-ed25519 AAAAnonsense",
        ),
        (("--dry-run",), {"PUBLIC_KEY": "-----BEGIN OPENSSH PRIVATE KEY-----\nx"}, "is a private one"),
        (("--dry-run",), {"SSH_PASSWORD": "short"}, "SSH_PASSWORD is shorter than 12 signs"),
        (("--dry-run",), {"SSH_PASSWORD": "with: a colon in it"}, "SSH_PASSWORD has a line break or a colon"),
        (("--undo",), {}, "there is nothing to undo"),
    ],
)
def test_what_is_wrong_is_named(root: Path, options: tuple[str, ...], variables: dict[str, str], words: str) -> None:
    before = sorted(root.rglob("*"))
    said = run(root, *options, **variables)
    assert (said.returncode, words in said.stderr) == (2, True), said.stderr
    assert "\n  → " in said.stderr
    assert sorted(root.rglob("*")) == before


def test_a_short_rsa_key_is_left_out(root: Path, tmp_path: Path) -> None:
    short = make_key(tmp_path, "-t", "rsa", "-b", "2048")
    (tmp_path / "key").unlink()
    good = make_key(tmp_path, "-t", "ed25519")
    said = run(root, "--dry-run", PUBLIC_KEY=f"# mine\r\n{short}\n\n{good}\n")
    assert "a key of RSA with 2048 bits is left out" in said.stderr
    assert "let in 1 given public keys" in said.stdout


def test_compatible_adds_an_older_key_exchange(root: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path, "-t", "ed25519")
    strict, compatible = (
        run(root, "--dry-run", "--profile", one, PUBLIC_KEY=key).stdout for one in ("strict", "compatible")
    )
    assert "curve25519-sha256," not in strict
    assert "curve25519-sha256,curve25519-sha256@libssh.org" in compatible


SNTRUP, MLKEM = "sntrup761x25519-sha512@openssh.com", "mlkem768x25519-sha256"


@pytest.mark.parametrize(
    ("version", "exchanges", "there", "missing"),
    [
        ("8.9p1 Ubuntu-3ubuntu0.10", SNTRUP, (f"KexAlgorithms {SNTRUP}", "PerSourceMaxStartups"), "RequiredRSASize"),
        ("9.6p1 Ubuntu-3ubuntu13", SNTRUP, ("RequiredRSASize 3072", "PubkeyAcceptedAlgorithms"), MLKEM),
        ("10.2p1", f"{SNTRUP} {MLKEM}", (f"KexAlgorithms {MLKEM},{SNTRUP}", "RequiredRSASize"), "KeyTypes"),
    ],
)
def test_only_words_that_this_openssh_knows_are_written(
    root: Path, tmp_path: Path, version: str, exchanges: str, there: tuple[str, ...], missing: str
) -> None:
    said = run(
        root, "--dry-run", PUBLIC_KEY=make_key(tmp_path, "-t", "ed25519"), PATH=other_ssh(tmp_path, version, exchanges)
    )
    assert said.returncode == 0, said.stderr
    assert [words for words in there if words not in said.stdout] == []
    assert missing not in said.stdout


def test_an_openssh_without_post_quantum_exchange_is_told_of_compatible(root: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path, "-t", "ed25519")
    path = other_ssh(tmp_path, "8.2p1", "curve25519-sha256")
    refused = run(root, "--dry-run", PUBLIC_KEY=key, PATH=path)
    assert (refused.returncode, "--profile compatible" in refused.stderr) == (2, True)
    taken = run(root, "--dry-run", "--profile", "compatible", PUBLIC_KEY=key, PATH=path)
    assert "PubkeyAcceptedKeyTypes ssh-ed25519," in taken.stdout
    assert "PerSourceMaxStartups" not in taken.stdout


def other_ssh(folder: Path, version: str, exchanges: str) -> str:
    """A PATH whose ssh says it is of this version and knows these key exchanges."""
    real = shutil.which("ssh")
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
case "$*" in
  -V) echo "OpenSSH_{version}, OpenSSL 3" >&2 ;;
  "-Q kex") printf '%s\\n' {exchanges} ;;
  *) exec {real} "$@" ;;
esac
"""
    )
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"
