"""OpenLane-V2's devkit on a submission's own file; runs inside envs/official/openlanev2.

python lane_submission_oracle.py TRUTH.pkl SUBMISSION.pkl OUT.json; the truth is as the devkit's collection has it.
"""

import json
import sys
from pathlib import Path
from typing import Any

try:
    from openlanev2.evaluation import evaluate
except ImportError:
    from openlanev2.centerline.evaluation import evaluate

try:
    scores = evaluate(sys.argv[1], sys.argv[2], verbose=False)["OpenLane-V2 Score"]
    answer: Any = {("OLS" if name == "score" else name): float(value) for name, value in scores.items()}
except Exception as error:  # noqa: BLE001  # whatever it raises is its way to refuse a file
    answer = {"refused": repr(error)[:200]}
Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")
