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
    command = [SCRIPT, "--root", str(root), *options]
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
