"""Weights that say whose they are go to no other model of the real catalogue; what moved is named where it is now."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
from tests.checkpoints.torch_files import Tensor, pickled, write_zip

from admlops.catalog import load_model
from admlops.checkpoints import add, ensure_usable
from admlops.checkpoints.store import find_checkpoint
from admlops.core.errors import CheckpointError, UsageError
from admlops.core.paths import find_layout
from admlops.pipeline.run_settings import _config

OWNERS = [
    ("PETR", "vovnet-p4-800x320", "PETRv2", "vovnet-p4-800x320"),
    ("PETRv2", "vovnet-p4-800x320", "PETR", "vovnet-p4-800x320"),
    ("MapTR", "tiny-24e", "MapTRv2", "nusc-r50-24ep"),
    ("MapTRv2", "nusc-r50-24ep", "MapTR", "tiny-bevpool-24e"),
    ("MapTRv2", "nusc-r50-24ep", "MapTRv2", "nusc-r50-24ep-centerline"),
    ("MapTRv2", "nusc-r50-24ep", "VAD", "tiny"),
    ("BEVFormer", "tiny-24e", "BEVFormer", "base-24e"),
    ("BEVFormer", "tiny-24e", "MapTR", "tiny-bevformer-24e"),
    ("BEVFormer", "tiny-24e", "PETRv2", "vovnet-p4-800x320"),
]


@pytest.mark.parametrize(("model", "name", "owner", "owners_name"), OWNERS)
def test_weights_of_another_config_or_model_are_refused(
    model: str, name: str, owner: str, owners_name: str, tmp_path: Path
) -> None:
    """By the configuration that the trainer kept, before anything of them is loaded."""
    layout = replace(find_layout(), repository=tmp_path)
    known = load_model(layout, owner)
    config = known.configs[known.checkpoints[owners_name].config]
    state = OrderedDict({"img_backbone.weight": Tensor("0", 4)})
    file = tmp_path / "weights.pth"
    write_zip(file, pickled({"meta": {"exp_name": Path(config).name}, "state_dict": state}), {"0": 4})
    with pytest.raises(CheckpointError, match=f"the config of {owner} {owners_name}") as raised:
        add(layout, load_model(layout, model), name, file, say=lambda line: None)
    assert f"admlops checkpoints add {owner} {owners_name} {file}" in raised.value.hint


def test_what_moved_to_another_model_is_named_there() -> None:
    layout = find_layout()
    petr = load_model(layout, "PETR")
    with pytest.raises(UsageError, match="it is of the model PETRv2 now") as raised:
        _config(layout, petr, "petrv2-vovnet-p4-800x320")
    assert raised.value.hint == "admlops models show PETRv2"
    with pytest.raises(
        UsageError, match='PETR has no checkpoint "petrv2-vovnet-p4-800x320" in the catalogue; it is of'
    ):
        find_checkpoint(petr, "petrv2-vovnet-p4-800x320")
    with pytest.raises(UsageError, match="nor a name of the catalogue; it is of the model PETRv2 now"):
        ensure_usable(layout, petr, "petrv2-vovnet-p4-800x320", say=print)
    for moved, owner in petr.moved.items():
        assert moved.removeprefix("petrv2-") in load_model(layout, owner).configs
