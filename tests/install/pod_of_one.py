"""A machine inside this one: its own /etc, /home, /run and network, so that sshd and accounts are real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "install" / "ssh.sh"
NEEDED = ("sshd", "ssh", "ssh-keygen", "ssh-keyscan", "unshare", "nsenter", "ip", "useradd")
BEGIN = """
set -e
mount --make-rprivate /
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
for folder in /home /run; do mount -t tmpfs -o mode=755 none "$folder"; done
mkdir -m 700 /home/root
sed -i 's,:/root:,:/home/root:,' /etc/passwd  # /root may hold the Python that tests run on
ip link set lo up
rm -f /etc/ssh/sshd_config.d/*
ssh-keygen -A >/dev/null  # those that are not there
echo ready
exec sleep infinity
"""


def why_not() -> str:
    """Say why there can be no such machine here; empty where there can."""
    if os.geteuid() != 0:
        return "needs root, for sshd and accounts of its own"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install openssh-server iproute2 util-linux passwd"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"needs namespaces, which are refused here: {tried.stderr.strip()}"


@dataclass(frozen=True)
class Pod:
    """A running one. `folder` is seen from inside under the same name."""

    pid: int
    folder: Path
    volume: Path

    def run(self, *command: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return subprocess.run(
            [*self.enter(), *map(str, command)],
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
            env=self.variables(variables),
            stdin=subprocess.DEVNULL,
        )

    def enter(self) -> list[str]:
        """The words before a command that is to run inside."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--"]

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        """The environment of its commands: nothing of the tests' own but PATH."""
        return {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/home/root", "LC_ALL": "C", **more}

    def set_up(self, *options: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run install/ssh.sh with the user's key, and with host keys that one of the tests has made."""
        given = {"PUBLIC_KEY": self.key.with_suffix(".pub").read_text(), **variables}
        return self.run(SCRIPT, "--host-keys", self.volume, *options, check=check, **given)

    @property
    def key(self) -> Path:
        """The user's private key."""
        return self.folder / "key"

    def ssh(self, *words: str, user: str = "root", port: int = 22, check: bool = True, **options: str) -> str:
        """Log in with the key, run `words`, and return what was said, errors too."""
        done = self.run(*self.ssh_command(user, port, **options), *words, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def ssh_command(self, user: str, port: int, program: str = "ssh", **options: str) -> list[str]:
        """The words of ssh up to its target."""
        chosen = {
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": "30",
            **options,
        }
        given = [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")]
        return [program, "-F", "/dev/null", "-p", str(port), *given, f"{user}@127.0.0.1"]

    def listener(self) -> str:
        """The process id of the sshd that listens, as the pod sees it."""
        return self.run("cat", "/run/sshd.pid").stdout.strip()

    def snapshot(self) -> dict[str, tuple[str, str]]:
        """Every file below /etc/ssh but ours, and the file of the pod's variables: mode and content."""
        found = {}
        files = [*sorted((self.folder / "etc" / "ssh").rglob("*")), self.folder / "etc" / "rp_environment"]
        for path in files:
            if path.is_file() and "admlops" not in path.parent.parts:
                found[str(path)] = (oct(path.stat().st_mode), path.read_text(errors="replace"))
        return found


@contextmanager
def pod_of_one(folder: Path, volume: Path) -> Iterator[Pod]:
    """Start one; whatever was started in it ends with it. `volume` outlives it: making a key of RSA takes seconds."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    process = subprocess.Popen(
        [*command, "bash", "-c", BEGIN, "bash", folder],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        yield Pod(int(inner[0]), folder, volume)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
