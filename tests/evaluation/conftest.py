"""A fabricated data set for the tests of this room."""

from __future__ import annotations

import pytest
from tests.fabricated_nuscenes import VERSION, write_map, write_tables

from admlops.datasets.nuscenes.tables import NuScenes


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    root = write_tables(tmp_path_factory.mktemp("fabricated") / "nuscenes")
    write_map(root)
    return NuScenes(root, VERSION)


@pytest.fixture(scope="session")
def tokens(data: NuScenes) -> list[str]:
    """Every sample, scene after scene, as a run has them."""
    return [token for scene in data.scenes() for token in scene.samples]
