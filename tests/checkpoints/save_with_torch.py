"""Runs under a Python that has torch: saves the kinds of checkpoint that trainers write into the folder it is given."""

import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network[2](torch.zeros(1, 8)).sum().backward()
    optimizer.step()
    shared = torch.arange(12.0)
    kinds = {
        "half": torch.zeros(3, dtype=torch.float16),
        "bfloat": torch.zeros(3, dtype=torch.bfloat16),
        "long": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "byte": torch.zeros(2, dtype=torch.uint8),
        "double": torch.zeros((2, 2), dtype=torch.float64),
        "empty": torch.zeros(0),
        "view": shared[2:6],
        "transposed": shared.reshape(3, 4).t(),
    }
    full = {
        "meta": {
            "epoch": 24,
            "iter": 84408,
            "time": "Fri Oct 14 2022",
            "mmcv_version": "1.4.0",
            "config": "model = dict(\n    type='MapTR')\n" * 200,
            "CLASSES": ("divider", "ped_crossing", "boundary"),
            "PALETTE": None,
            "seed": 0,
            "hook_msgs": {"best_score": np.float64(0.5), "history": np.arange(5), "scale": np.float32(2)},
            "seen": {1, 2},
            "rng": b"\x00\x80\xff",
        },
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "kinds": kinds,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "ordered": OrderedDict(a=1),
        "device": torch.device("cpu"),
        "size": torch.zeros(2, 3).shape,
        "dtype": torch.float32,
    }
    for name, content in (("weights", network.state_dict()), ("full", full)):
        torch.save(content, folder / (name + "-zip.pth"))
        torch.save(content, folder / (name + "-legacy.pth"), _use_new_zipfile_serialization=False)
    torch.save(network, folder / "bad-module.pth")
    torch.jit.script(network).save(str(folder / "bad-script.pth"))
    torch.save({"w": torch.zeros(1), "run": Runs()}, folder / "bad-zip.pth")
    torch.save(Runs(), folder / "bad-legacy.pth", _use_new_zipfile_serialization=False)
    print(torch.__version__, np.__version__)


class Runs:
    """Calls os.system when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo run >> /tmp/this-must-not-happen",)


main(Path(sys.argv[1]))
