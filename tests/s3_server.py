"""A real S3 server on loopback, in an environment of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

LOCK = Path(__file__).parent / "environments" / "s3" / "requirements.txt"
KEYS = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-very-secret-key", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True)
class Server:
    """A running S3 server: its address, and what it was asked."""

    url: str
    log: Path

    def requests(self, method: str) -> list[str]:
        """The paths that were asked with a method, oldest first."""
        plain = re.sub(r"\x1b\[\d*m", "", self.log.read_text())
        return re.findall(rf'"{method} (\S+) HTTP', plain)


@pytest.fixture(scope="session")
def s3_python(shared_tmp: Path) -> Path:
    """An interpreter that has the S3 server, installed from its hashed lock."""
    prefix = shared_tmp / "s3-environment"
    uv = Path(sys.executable).with_name("uv")
    program: str | Path = uv if uv.exists() else "uv"
    with FileLock(shared_tmp / "s3-environment.lock"):
        if not prefix.is_dir():
            subprocess.run([program, "venv", "-q", "--python", sys.executable, prefix], check=True)
            command = [program, "pip", "install", "-q", "--require-hashes", "--no-deps", "--python", prefix, "-r", LOCK]
            installed = subprocess.run(command, capture_output=True, text=True, check=False)
            if installed.returncode != 0:
                subprocess.run(["rm", "-rf", prefix], check=True)
                if re.search("error sending request|dns error|failed to fetch", installed.stderr, re.IGNORECASE):
                    pytest.skip("needs the package index once, for an S3 server")
                pytest.fail(installed.stderr)
    return prefix / "bin" / "python"


@pytest.fixture
def s3(s3_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 server with an empty bucket, and the variables that name it."""
    log = tmp_path / "s3.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [s3_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        server = Server(url=_wait_for_address(log), log=log)
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/bucket", method="PUT"), timeout=120):
            pass
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for_address(log: Path) -> str:
    """The server chooses a free port by itself, and says so once it listens."""
    deadline = time.monotonic() + 120
    while not (found := re.search(r"Running on (http://127\.0\.0\.1:[1-9]\d*)", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]
