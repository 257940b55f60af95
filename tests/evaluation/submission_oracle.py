"""The official nuScenes evaluation of files on split mini_val, one after another; runs inside envs/official/nuscenes.

python submission_oracle.py DATAROOT VERSION; a path a line on standard input, an answer a line on standard output:
`DetectionMetrics.serialize()`, or {"refused": why}.
"""

import contextlib
import json
import sys
import tempfile
from typing import Any

from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval


def evaluate(nusc: NuScenes, path: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = config_factory("detection_cvpr_2019")
        try:
            metrics, _ = DetectionEval(nusc, config, path, "mini_val", folder, verbose=False).evaluate()
        except Exception as error:  # noqa: BLE001  # whatever it raises is its way to refuse a file
            return {"refused": repr(error)[:200]}
    return dict(metrics.serialize())


def main() -> None:
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        nusc = NuScenes(version=sys.argv[2], dataroot=sys.argv[1], verbose=False)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            answer = evaluate(nusc, json.loads(line))
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
