"""Where the checkout is. Importing this lets a stage import `worker`, and what tests/models runs in environments."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

sys.path[:0] = [str(CHECKOUT / "tests" / "models"), str(CHECKOUT / "runners")]
