"""A small checkout with a model of its own, for commands that build, change and remove environments."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conda_channel.channel import CondaChannel
from tests.environments.small_checkout import SmallCheckout, make_checkout


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a person keeps caches and packs, and which mirrors they ask, has no say here."""
    for name in ("CACHE", "PACK_STORE", "CONDA_MIRROR", "DOWNLOAD_MIRROR"):
        monkeypatch.delenv(f"ADMLOPS_{name}", raising=False)


@pytest.fixture
def small(tmp_path: Path, conda_channel: CondaChannel) -> SmallCheckout:
    """A checkout of this test's own; nothing is built in it yet."""
    return make_checkout(tmp_path / "a checkout", conda_channel)
