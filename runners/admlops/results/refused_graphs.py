"""The parts of a network that a run with graphs ran without one, as its `events.jsonl` has them."""

from __future__ import annotations

from admlops.results.run_folder import RunFolder


def list_refused_graphs(run: RunFolder) -> dict[str, str]:
    """Return part → why no worker, or not every worker, replays it: the first reason that was told of it."""
    reasons: dict[str, str] = {}
    for event in run.events():
        if event.get("event") == "graphs_refused":
            reasons = {**{str(part): str(why) for part, why in event.get("reasons", {}).items()}, **reasons}
    return reasons
