"""The authors' training loop as it is, in the model's environment: `tools/train.py` on their own configuration.

Run by the environment's Python: `upstream_loop.py JSON`. JSON names `folder` (the model's), `adapter`, `config`
(relative to the source), `options` (of --cfg-options), `work` and `seed`. What it lacks to run on a CPU is mended
here, and not by what `admlops train` does: names of libraries, `.cuda()`. The result is mmcv's log.json.
"""

import importlib
import json
import runpy
import sys
import types
from pathlib import Path
from typing import Any

torch: Any = importlib.import_module("torch")
ASKED = json.loads(sys.argv[1])
FOLDER = Path(ASKED["folder"])
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "runners")]


def stay(self: Any, *_: Any, **__: Any) -> Any:
    """Stand for `.cuda()`."""
    return self


def main() -> None:
    """Run the authors' program."""
    from worker.mmlab.common.source import enter_source
    from worker.mmlab.v1.network import beside_library
    from worker.mmlab.v1.overlay import last_registration_wins

    names = runpy.run_path(str(FOLDER / "demo.py"), run_name="adapter")
    adapter = names[ASKED["adapter"]]()
    root = enter_source(adapter.source_root(), below=adapter.source_paths)
    torch.nn.Module.cuda = stay
    torch.Tensor.cuda = stay
    with last_registration_wins():
        adapter.import_libraries()
        if ASKED["adapter"] == "MapTR":
            differentiate()
        with beside_library(str(Path(root, ASKED["config"]))) as config:
            sys.argv = ["tools/train.py", config, "--work-dir", ASKED["work"], "--seed", str(ASKED["seed"])]
            sys.argv += ["--no-validate", "--cfg-options", *ASKED["options"]]
            runpy.run_path("tools/train.py", run_name="__main__")


def differentiate() -> None:
    """Call MapTR's attention in PyTorch, without its Function, whose backward pass is CUDA's."""
    from worker.mmlab.v1 import geometric_kernel_attention

    importlib.import_module("projects.mmdet3d_plugin")
    module = importlib.import_module("projects.mmdet3d_plugin.maptr.modules.geometry_kernel_attention")
    function = types.SimpleNamespace(apply=geometric_kernel_attention.attend)
    module.GeometricKernelAttentionFunc = function  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
