"""Whether one can work here from elsewhere: what VS Code Remote-SSH needs of a machine, and its way to a pod.

Source: microsoft/vscode-docs, docs/remote/linux.md (prerequisites) and docs/remote/troubleshooting.md.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from admlops.core.paths import home_folder
from admlops.health.disks import find_file_system
from admlops.pipeline.health.check import Finding, HealthCheck, Place, judge
from admlops.pipeline.health.disk import SLOW

LEAST_KERNEL, LEAST_GLIBC, LEAST_GLIBCXX = (4, 18), (2, 28), (3, 4, 25)
PROGRAMS = (("bash",), ("tar",), ("curl", "wget"))
SERVER_FOLDER = ".vscode-server"
ENOUGH_HOME_BYTES = 1_000_000_000
SSH_ADVICE = "sudo ./install/ssh.sh   # sets up sshd with keys alone; docs/access.md"


def _look(place: Place) -> Iterator[Finding]:
    yield _version("kernel", platform.release(), LEAST_KERNEL)
    yield _version("glibc", platform.libc_ver()[1], LEAST_GLIBC)
    yield _version("libstdc++ (GLIBCXX)", _newest_glibcxx(), LEAST_GLIBCXX)
    for names in PROGRAMS:
        found = next((name for name in names if shutil.which(name, path=place.variables.get("PATH"))), None)
        yield Finding(
            measure="program",
            value=found or "not there",
            subject=" or ".join(names),
            status="pass" if found else "warn",
            problem="" if found else "VS Code cannot set up its server without it",
            advice=f"apt-get install {names[0]}",
        )
    yield from _home(place)
    yield from _ssh(place)


def _version(measure: str, text: str, least: tuple[int, ...]) -> Finding:
    found = tuple(int(number) for number in re.findall(r"\d+", text)[: len(least)])
    fits = not found or found >= least
    wanted = ".".join(map(str, least))
    return Finding(
        measure=measure,
        value=text or None,
        status="pass" if fits else "warn",
        problem="" if fits else f"VS Code's server needs {wanted} or newer",
        advice="cat /etc/os-release   # choose an image of Ubuntu 20.04, Debian 11 or newer",
    )


def _newest_glibcxx() -> str:
    """Return the newest symbol version of the system's libstdc++; "" where there is none to read."""
    name = ctypes.util.find_library("stdc++")
    folders = (Path(f"/usr/lib/{platform.machine()}-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib"))
    file = next((folder / name for folder in folders if name and (folder / name).is_file()), None)
    if file is None:
        return ""
    versions = {
        tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBCXX_(\d+\.\d+\.\d+)", file.read_bytes())
    }
    return ".".join(map(str, max(versions, default=())))


def _home(place: Place) -> Iterator[Finding]:
    home = Path(place.variables.get("HOME") or home_folder())
    folder = home / SERVER_FOLDER
    there = folder.resolve() if folder.exists() else home
    kind = find_file_system(there, mounts=place.root / "proc/mounts")
    slow = kind.split(".")[0] in SLOW
    yield Finding(
        measure="file system",
        value=kind or None,
        subject=f"~/{SERVER_FOLDER}",
        status="warn" if slow else "pass",
        problem="the server's many small files lie on a network disk: it starts slowly" if slow else "",
        advice=f"rm -rf ~/{SERVER_FOLDER}   # and keep the home on the container's disk",
    )
    usage = os.statvfs(there)
    free = usage.f_bavail * usage.f_frsize
    status = judge(free, warn_below=ENOUGH_HOME_BYTES)
    yield Finding(
        measure="free",
        value=round(free / 1e6),
        unit="MB",
        subject="home",
        status=status,
        problem="" if status == "pass" else "the server and its extensions take up to 1 GB",
        advice=f"df -h {there}",
    )


def _ssh(place: Place) -> Iterator[Finding]:
    """Check the access by ssh, which is expected only on a pod."""
    sshd = shutil.which("sshd", path=f"{place.variables.get('PATH', '')}:/usr/sbin:/sbin")
    port = place.variables.get("SSH_PORT", "")
    listening = _listens(place, int(port) if port.isdigit() else 22)
    expected = place.is_pod
    yield Finding(
        measure="sshd",
        value="listens" if listening else "installed" if sshd else "not there",
        status="warn" if expected and not listening else "pass",
        problem="nothing listens for ssh: VS Code and scp cannot come in" if expected and not listening else "",
        advice=SSH_ADVICE,
    )
    if place.is_pod:
        public = place.variables.get("RUNPOD_TCP_PORT_22")
        yield Finding(
            measure="public port of ssh",
            value=public or "none",
            status="pass" if public else "warn",
            problem="" if public else "the pod shows no TCP port 22: ssh.runpod.io has neither scp nor forwarding",
            advice="add TCP port 22 to the pod's exposed ports   # editing resets all outside /workspace",
        )
    forwards = _forwarding(place)
    if forwards is not None:
        yield Finding(
            measure="AllowTcpForwarding",
            value=forwards,
            status="warn" if forwards == "no" else "pass",
            problem="VS Code reaches its server through a forwarded port" if forwards == "no" else "",
            advice=SSH_ADVICE,
        )


def _listens(place: Place, port: int) -> bool:
    """Tell whether a socket of this network listens on a TCP port; /proc/net needs no rights."""
    entry = re.compile(rf"^\s*\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", re.MULTILINE)
    return any(entry.search(place.read(f"proc/net/{name}")) for name in ("tcp", "tcp6"))


def _forwarding(place: Place) -> str | None:
    """Return the first AllowTcpForwarding of sshd's files outside Match blocks; None where they do not name it."""
    main = place.root / "etc/ssh/sshd_config"
    drop_ins = sorted((place.root / "etc/ssh/sshd_config.d").glob("*.conf"))
    for file in [*drop_ins, main]:  # the main file includes the others at its top
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        found = re.search(
            r"^\s*AllowTcpForwarding\s+(\S+)", re.split(r"(?mi)^\s*Match\s", text)[0], re.MULTILINE | re.IGNORECASE
        )
        if found:
            return found[1].lower()
    return None


CHECK = HealthCheck(id="remote", title="VS Code Remote", look=_look)
