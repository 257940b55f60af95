"""A small prefix with everything a pack has to carry."""

from __future__ import annotations

import os
import random
import stat
import sys
from pathlib import Path

from admlops.environments.integrity.manifest import LEFT_OUT
from admlops.environments.prefix import SENTINEL, write_state

DIGEST = "d" * 64
LONG_NAME = "a-name-that-no-old-tar-header-holds-" * 5 + "é.py"

Tree = dict[str, tuple[str, int, int, bytes]]


def make_prefix(prefix: Path) -> Path:
    """A ready environment at `prefix`: programs, links, an empty and an unwritable folder, a large file."""
    for folder in ("bin", "lib/python3.11/site-packages/pkg", "lib/empty", "lib/closed"):
        (prefix / folder).mkdir(parents=True)
    site = prefix / "lib/python3.11/site-packages"
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.7\n")
    (prefix / "bin/python").symlink_to(sys.executable)
    (prefix / "bin/python3").symlink_to("python")
    (prefix / "bin/tool").write_text(f"#!{prefix}/bin/python\nprint('tool')\n")
    (prefix / "bin/tool").chmod(0o755)
    (prefix / "lib64").symlink_to("lib")
    (prefix / "lib/absolute").symlink_to(prefix / "lib/empty")
    (site / "pkg/__init__.py").write_text("value = 1\n")
    (site / LONG_NAME).write_text("")
    (site / "large.bin").write_bytes(random.Random(1).randbytes(9 << 20))
    (prefix / "lib/closed/file").write_text("inside a folder that may not be written")
    (prefix / "lib/closed").chmod(0o555)
    os.utime(site / "pkg/__init__.py", (1_600_000_000, 1_600_000_000))
    (prefix / SENTINEL).write_text("made here\n")
    write_state(prefix, name="Tiny-modern", state="ready", digest=DIGEST, installer="venv", details={"packages": 1})
    return prefix


def tree_of(prefix: Path) -> Tree:
    """Everything under a prefix but what admlops itself keeps there: kind, mode, whole second, content."""
    tree: Tree = {}
    for path in sorted(prefix.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(prefix))
        if path.is_symlink():
            tree[name] = ("link", 0, 0, os.fsencode(path.readlink()))
        elif path.is_dir():
            tree[name] = ("folder", stat.S_IMODE(status.st_mode), 0, b"")
        elif name not in LEFT_OUT:
            tree[name] = ("file", stat.S_IMODE(status.st_mode), int(status.st_mtime), path.read_bytes())
    return tree
