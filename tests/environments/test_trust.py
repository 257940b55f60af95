"""A wheel whose hash nobody knows yet: refused by an installation, recorded by `env lock --record`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.environments.small_checkout import SmallCheckout
from tests.environments.test_accepted import WHEEL, odd_wheel
from tests.file_server import FileServer, file_server

ADDRESS = f"https://files.example.org/{WHEEL}"


def serve(server: FileServer, content: bytes) -> None:
    server.serve(f"/files.example.org/{WHEEL}", lambda request: request.send(200, content))


@pytest.mark.full
def test_an_installation_never_changes_a_lock(small: SmallCheckout, tmp_path: Path) -> None:
    lock = small.model / "modern" / "requirements.txt"
    lock.write_text(f"odd @ {ADDRESS} \\\n    --hash=sha256:unknown\n")
    (small.model / "modern" / "requirements.in").write_text(f"odd @ {ADDRESS}\n")
    before, content = lock.read_text(), odd_wheel()
    digest = hashlib.sha256(content).hexdigest()
    with file_server() as server:
        serve(server, content)
        mirrored = {"ADMLOPS_DOWNLOAD_MIRROR": server.url, "ADMLOPS_CACHE": str(tmp_path / "cache")}
        refused = small.admlops("env", "install", "Tiny", check=False, variables=mirrored)
        assert refused.returncode == 2
        assert WHEEL in refused.stderr
        assert "→ admlops env lock Tiny --record" in refused.stderr
        assert server.requests == [], "nothing is fetched that may not be used"
        old = small.admlops("env", "install", "Tiny", "--trust-first-use", check=False, variables=mirrored)
        assert old.returncode == 2
        assert "→ admlops env lock Tiny --record" in old.stderr
        assert lock.read_text() == before

        small.admlops("env", "lock", "Tiny", "--variant", "modern", "--record", variables=mirrored)
        assert f"--hash=sha256:{digest}" in lock.read_text()
        small.admlops("env", "install", "Tiny", variables=mirrored)
        small.admlops("env", "remove", "Tiny", "--yes")
        serve(server, content + b"another")
        elsewhere = mirrored | {"ADMLOPS_CACHE": str(tmp_path / "empty")}
        changed = small.admlops("env", "install", "Tiny", check=False, variables=elsewhere)
        assert changed.returncode != 0
        assert digest[:12] in changed.stderr


@pytest.mark.parametrize("order", [("Tiny", "Nobody"), ("Nobody", "Tiny")])
def test_one_model_that_fails_does_not_keep_the_others(small: SmallCheckout, order: tuple[str, str]) -> None:
    failed = small.admlops("env", "install", *order, "--json", check=False)
    assert failed.returncode == 2
    assert "Nobody" in failed.stderr
    assert [row["name"] for row in json.loads(failed.stdout)] == ["Tiny-modern"]
    assert small.prefix("modern").is_dir()
