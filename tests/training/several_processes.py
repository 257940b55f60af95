"""A training of several processes on a CPU: all stop after the same iteration, one writes, each keeps its own state.

Started by `torch.distributed.run` with the folder `runners`, a folder to train in, and the iteration to go on behind
(0: a new training). Each process writes the iteration that it ended at.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from worker.training.session import STATE, WEIGHTS, Session
from worker.training.torch_state import agree_to_stop

torch: Any = importlib.import_module("torch")


def main() -> None:
    """Count until somebody asks to stop; a process notices that later than the other."""
    folder, behind = sys.argv[2], int(sys.argv[3])
    torch.distributed.init_process_group("gloo")
    names = {"weights": WEIGHTS, "state": STATE}
    files = {kind: str(Path(folder, "checkpoints", name.format(behind))) for kind, name in names.items()}
    resume = {"iteration": behind, **files} if behind else None
    session = Session({"training": {"folder": folder, "iterations": 400, "resume": resume}}, agree=agree_to_stop)
    done = behind
    if session.resume is not None:
        own = json.loads(Path(session.state_of_rank()).read_text())
        assert own == {"rank": session.rank, "done": behind}, own
    session.begin(iterations=400, per_epoch=10, batch=1, processes=2, libraries={})
    reason = None
    while reason is None:
        time.sleep(0.01 + 0.02 * session.rank)
        done += 1
        session.tell_iteration(done, epoch=1, loss=1.0)
        if done == behind + 20 and session.rank == 1:
            Path(folder, "stop").write_text("enough\n")
        reason = session.reason_to_stop(done)
    kept = {"rank": session.rank, "done": done}
    session.save(done, lambda path: write(path, kept), lambda path: write(path, kept))
    session.end(done, reason)
    torch.distributed.barrier()
    write(str(Path(folder, f"ended-{session.rank}.json")), [done, reason])


def write(path: str, kept: Any) -> None:
    Path(path).write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
