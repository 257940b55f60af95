"""Run by a model's environment: checkpoints that nobody should load, and what the adapter's reader says of each.

    python spoil_checkpoints.py {"model", "folder"}

Writes whole.pth with random weights for the default configuration; half.pth, every second of its tensors; other.pth,
all of them under other names; cut.pth, its first half; text.pth. Prints, as JSON, by file the message, empty where it
loads.
"""

import json
from pathlib import Path
from typing import Any

from inside_model import load_adapter, load_drawn, read_request

from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.weights import WeightsError, load_into

SPOILT = ("half.pth", "other.pth", "cut.pth", "text.pth")


def main() -> None:
    wanted = read_request()
    folder = Path(wanted["folder"])
    adapter, whole = load_adapter(wanted["model"]), folder / "whole.pth"
    load_drawn(adapter, {"config": "", "draw": 0, "checkpoint": str(whole)})
    torch = load_library("torch")
    state = torch.load(str(whole))["state_dict"]
    torch.save({"state_dict": {key: state[key] for key in list(state)[::2]}}, str(folder / "half.pth"))
    torch.save({"state_dict": {"bev." + key: value for key, value in state.items()}}, str(folder / "other.pth"))
    content = whole.read_bytes()
    (folder / "cut.pth").write_bytes(content[: len(content) // 2])
    (folder / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    print(json.dumps({name: say(adapter, folder / name) for name in ("whole.pth", *SPOILT)}))


def say(adapter: Any, path: Path) -> str:
    """What loading the checkpoint raises."""
    try:
        load_into(adapter._model, str(path))
    except WeightsError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
