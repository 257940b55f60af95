"""`admlops env install` and `env list`, on environments that the other tests need as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

from admlops.environments import Environment

Admlops = Callable[..., "CompletedProcess[str]"]


def test_a_ready_environment_is_described_and_left_as_it_is(
    admlops: Admlops, groundplane_environment: Environment
) -> None:
    before = groundplane_environment.prefix.stat().st_mtime_ns
    [row] = json.loads(admlops("env", "install", "GroundPlane", "--json").stdout)
    assert row["prefix"] == str(groundplane_environment.prefix)
    assert (row["installer"], row["device"]) == (groundplane_environment.installer, None)
    assert row["packages"] == 2
    assert row["size_bytes"] > 50_000_000
    assert groundplane_environment.prefix.stat().st_mtime_ns == before


def test_the_list_has_every_variant(admlops: Admlops, groundplane_environment: Environment) -> None:
    rows = {(row["model"], row["variant"]): row for row in json.loads(admlops("env", "list", "--json").stdout)}
    assert rows["GroundPlane", "modern"]["status"] == "ready"
    assert rows["GroundPlane", "modern"]["digest"] == groundplane_environment.digest
    assert {("MapTR", "modern"), ("MapTR", "classic"), ("VAD", "classic")} <= rows.keys()
    shown = admlops("env", "list").stdout
    assert str(groundplane_environment.prefix) in shown


def test_an_installer_that_cannot_be_is_refused_with_one_that_can(admlops: Admlops) -> None:
    refused = admlops("env", "install", "official/nuscenes", "--installer", "conda", check=False)
    assert refused.returncode == 2
    assert "cannot be built by conda; it can by venv" in refused.stderr
    assert "admlops env install official/nuscenes --installer venv" in refused.stderr


def test_a_variant_or_device_that_is_not_there_is_named(admlops: Admlops) -> None:
    refused = admlops("env", "install", "MapTR", "--variant", "antique", check=False)
    assert refused.returncode == 2
    assert "antique" in refused.stderr
    assert "modern, classic" in refused.stderr
